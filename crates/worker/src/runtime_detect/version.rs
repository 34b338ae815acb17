//! Turns the version words that interpreters print into semantic versions that order the way the releases did.

use semver::{Prerelease, Version};

/// Words that mark a pre-release, with what they become. The results sort, as semver compares identifiers, in the
/// order of the releases: development snapshots (a numeric identifier is the lowest), alpha, beta, preview, candidate.
const PRE_RELEASES: [(&str, &str); 13] = [
    ("alpha", "alpha"),
    ("beta", "beta"),
    ("canary", "0.canary"),
    ("devel", "0.dev"),
    ("dev", "0.dev"),
    ("nightly", "0.nightly"),
    ("preview", "preview"),
    ("pre", "pre"),
    ("rc", "rc"),
    ("snapshot", "0.snapshot"),
    ("ea", "ea"),
    // Python's one-letter forms (PEP 440); after the longer words that begin with the same letter
    ("a", "alpha"),
    ("b", "beta"),
];

/// Reads a version word: `3.11.2`, `v20.1`, `3.13.0b2`, `1.22rc1`, `21.0.12.1`, `3.1.2p20`, `9-Debian`.
///
/// The first three numbers count, missing ones are zero; a pre-release word behind them is kept, any other suffix
/// (patch levels, vendors) is not. `None` when the word does not begin with a number, or a number exceeds 64 bits.
pub(super) fn normalise(word: &str) -> Option<Version> {
    let word = word.strip_prefix(['v', 'V']).unwrap_or(word);
    let (numbers, suffix) = split_numbers(word)?;
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
    let mut version = Version::new(at(0), at(1), at(2));
    version.pre = pre_release(suffix);
    Some(version)
}

/// Reads Node.js' version: already semantic (`v22.3.0`, `v23.0.0-nightly20240601a1b2`), so its own spelling is kept.
pub(super) fn node(word: &str) -> Option<Version> {
    let bare = word.strip_prefix('v').unwrap_or(word);
    match Version::parse(bare) {
        // build metadata would take part in the order of `Version`
        Ok(version) => Some(Version { build: semver::BuildMetadata::EMPTY, ..version }),
        Err(_) => normalise(bare),
    }
}

/// Reads Java's version. Up to Java 8 it was `1.MAJOR.MINOR_UPDATE` (`1.8.0_392` is 8.0.392), then JEP 223 and
/// JEP 322 made it `FEATURE.INTERIM.UPDATE.PATCH`.
pub(super) fn java(word: &str) -> Option<Version> {
    let Some(legacy) = word.strip_prefix("1.") else { return normalise(word) };
    let (numbers, suffix) = split_numbers(legacy)?;
    let (update, suffix) = match suffix.strip_prefix('_').map(split_numbers) {
        Some(Some((update, suffix))) => (update.first().copied(), suffix),
        _ => (None, suffix),
    };
    let minor = numbers.get(1).copied().unwrap_or(0);
    let mut version = Version::new(*numbers.first()?, minor, update.or(numbers.get(2).copied()).unwrap_or(0));
    version.pre = pre_release(suffix);
    Some(version)
}

/// Reads Go's version. `1.18.5b7` is a `BoringCrypto` build of 1.18.5, not a beta: betas are spelled out.
pub(super) fn go(word: &str) -> Option<Version> {
    let (_, suffix) = split_numbers(word)?;
    let boring = suffix.strip_prefix('b').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    normalise(if boring { &word[..word.len() - suffix.len()] } else { word })
}

/// Reads Perl's version. Before 5.6 it was a decimal fraction (`5.005_03` is 5.5.3).
pub(super) fn perl(word: &str) -> Option<Version> {
    let Some((major, fraction)) = word.split_once('.') else { return normalise(word) };
    let (minor, patch) = fraction.split_once('_').unwrap_or((fraction, "0"));
    if minor.len() == 3 && minor.starts_with('0') {
        return Some(Version::new(major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?));
    }
    normalise(word)
}

/// Attaches a pre-release word that was printed apart from the number, as R does (`4.3.0 beta`).
pub(super) fn with_label(version: Version, label: &str) -> Version {
    let pre = match label.to_ascii_lowercase().as_str() {
        "under development" => pre_release("dev"),
        other => pre_release(other),
    };
    Version { pre, ..version }
}

/// The leading dotted numbers and what follows them; `None` without a number or with one that is too large.
fn split_numbers(word: &str) -> Option<(Vec<u64>, &str)> {
    let mut numbers = Vec::new();
    let mut rest = word;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        numbers.push(rest[..digits].parse().ok()?);
        rest = &rest[digits..];
        match rest.strip_prefix('.') {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
            _ => return Some((numbers, rest)),
        }
    }
}

/// The pre-release that a suffix such as `rc1`, `-RC2`, `.beta.3` or `-ea` means; empty for any other suffix.
fn pre_release(suffix: &str) -> Prerelease {
    let lower = suffix.trim_start_matches(['-', '.', '_', '~', ' ']).to_ascii_lowercase();
    for (word, meaning) in PRE_RELEASES {
        let Some(rest) = lower.strip_prefix(word) else { continue };
        // `b` begins many vendors' words ("bellsoft"): a letter behind it makes it another word
        if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let number = rest.trim_start_matches(['-', '.']);
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        let text = match digits.parse::<u64>() {
            Ok(number) => format!("{meaning}.{number}"),
            Err(_) => meaning.to_owned(),
        };
        return Prerelease::new(&text).unwrap_or_default();
    }
    Prerelease::EMPTY
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(version: Option<Version>) -> String {
        version.map_or_else(|| "none".to_owned(), |v| v.to_string())
    }

    #[test]
    fn words_become_versions() {
        for (word, expected) in [
            ("3.11.2", "3.11.2"),
            ("21", "21.0.0"),
            ("21.0.12.1", "21.0.12"),
            ("3.13.0b2", "3.13.0-beta.2"),
            ("3.13.0a1", "3.13.0-alpha.1"),
            ("3.13.0rc1", "3.13.0-rc.1"),
            ("3.9.0+", "3.9.0"),
            ("2.7.18rc1+", "2.7.18-rc.1"),
            ("3.1.2p20", "3.1.2"),
            ("3.3.0preview3", "3.3.0-preview.3"),
            ("3.4.0dev", "3.4.0-0.dev"),
            ("v5.36.0", "5.36.0"),
            ("9-Debian", "9.0.0"),
            ("22-ea", "22.0.0-ea"),
            ("12-BellSoft", "12.0.0"),
            ("1.2.3-beta.4", "1.2.3-beta.4"),
            ("007.08", "7.8.0"),
            ("", "none"),
            ("v", "none"),
            ("latest", "none"),
            ("99999999999999999999999", "none"),
            ("1.2.", "1.2.0"),
            ("1..2", "1.0.0"),
        ] {
            assert_eq!(text(normalise(word)), expected, "{word}");
        }
    }

    #[test]
    fn families_have_their_own_spellings() {
        for (word, expected) in [
            ("1.8.0_392", "8.0.392"),
            ("1.8.0", "8.0.0"),
            ("1.8.0_05", "8.0.5"),
            ("1.8.0_402-ea", "8.0.402-ea"),
            ("1.4.2_19", "4.2.19"),
            ("1.7.0-u60-unofficial", "7.0.0"),
            ("11.0.21", "11.0.21"),
            ("17-ea", "17.0.0-ea"),
            ("1.", "none"),
        ] {
            assert_eq!(text(java(word)), expected, "{word}");
        }
        for (word, expected) in [
            ("1.22rc1", "1.22.0-rc.1"),
            ("1.8beta2", "1.8.0-beta.2"),
            ("1.18.5b7", "1.18.5"),
            ("1.19.8", "1.19.8"),
            ("1", "1.0.0"),
        ] {
            assert_eq!(text(go(word)), expected, "{word}");
        }
        for (word, expected) in [
            ("5.005_03", "5.5.3"),
            ("5.004", "5.4.0"),
            ("5.8.8", "5.8.8"),
            ("5.38.0-RC1", "5.38.0-rc.1"),
            ("5", "5.0.0"),
        ] {
            assert_eq!(text(perl(word)), expected, "{word}");
        }
        for (word, expected) in [
            ("v0.10.48", "0.10.48"),
            ("v22.3.0", "22.3.0"),
            ("v23.0.0-nightly20240601a1b2c3", "23.0.0-nightly20240601a1b2c3"),
            ("v18.0.0+build.7", "18.0.0"),
            ("v12", "12.0.0"),
        ] {
            assert_eq!(text(node(word)), expected, "{word}");
        }
        let apart = |word, label| text(normalise(word).map(|v| with_label(v, label)));
        assert_eq!(apart("4.3.0", "RC"), "4.3.0-rc");
        assert_eq!(apart("4.4.0", "Under development"), "4.4.0-0.dev");
        assert_eq!(apart("4.2.2", "Patched"), "4.2.2");
    }

    /// A release as its number and its stage: 0..=2 alpha, beta, candidate with a number; 3 final.
    fn release() -> impl Strategy<Value = (u64, u64, u64, u8, u64)> {
        (0u64..40, 0u64..40, 0u64..400, 0u8..4, 1u64..30)
            .prop_map(|(a, b, c, stage, n)| (a, b, c, stage, if stage == 3 { 0 } else { n }))
    }

    fn python_word((a, b, c, stage, n): (u64, u64, u64, u8, u64)) -> String {
        match stage {
            0 => format!("{a}.{b}.{c}a{n}"),
            1 => format!("{a}.{b}.{c}b{n}"),
            2 => format!("{a}.{b}.{c}rc{n}"),
            _ => format!("{a}.{b}.{c}"),
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(word in "\\PC*") {
            for parse in [normalise, node, java, go, perl] {
                let _ = parse(&word);
            }
            if let Some(version) = normalise(&word) {
                with_label(version, &word);
            }
        }

        #[test]
        fn no_almost_version_makes_a_parser_panic(word in "[v1]?[0-9]{0,22}([._+~ -]?(a|b|rc|beta|ea|p|dev|é)?[0-9]{0,22}){0,5}") {
            for parse in [normalise, node, java, go, perl] {
                if let Some(version) = parse(&word) {
                    // what is reported must be readable again
                    prop_assert_eq!(Version::parse(&version.to_string()).unwrap(), version);
                }
            }
        }

        #[test]
        fn python_releases_keep_their_order(left in release(), right in release()) {
            let (a, b) = (normalise(&python_word(left)).unwrap(), normalise(&python_word(right)).unwrap());
            prop_assert_eq!(a.cmp(&b), left.cmp(&right));
        }

        #[test]
        fn go_releases_keep_their_order(left in release(), right in release()) {
            let word = |(a, b, c, stage, n): (u64, u64, u64, u8, u64)| match stage {
                0 => format!("{a}.{b}.{c}-devel"),
                1 => format!("{a}.{b}.{c}beta{n}"),
                2 => format!("{a}.{b}.{c}rc{n}"),
                _ => format!("{a}.{b}.{c}"),
            };
            // every development build of one release is the same version
            let key = |r: (u64, u64, u64, u8, u64)| if r.3 == 0 { (r.0, r.1, r.2, 0, 0) } else { r };
            let (a, b) = (go(&word(left)).unwrap(), go(&word(right)).unwrap());
            prop_assert_eq!(a.cmp(&b), key(left).cmp(&key(right)));
        }

        #[test]
        fn java_8_comes_before_java_9_and_updates_are_ordered(
            left in (1u64..9, 0u64..3, 0u64..500), right in (1u64..9, 0u64..3, 0u64..500), modern in (9u64..60, 0u64..3, 0u64..40),
        ) {
            let legacy = |(a, b, c): (u64, u64, u64)| java(&format!("1.{a}.{b}_{c:02}")).unwrap();
            prop_assert_eq!(legacy(left).cmp(&legacy(right)), left.cmp(&right));
            let (a, b, c) = modern;
            let later = java(&format!("{a}.{b}.{c}.1")).unwrap();
            prop_assert!(legacy(left) < later);
        }
    }
}
