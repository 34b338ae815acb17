//! Version ranges, as people of many ecosystems write them: `>=3.11, <4`, `3.11`, `==3.11`, `~>3.1`, `18.x`.

use std::{fmt, str::FromStr};

use semver::{Comparator, Op, Version, VersionReq};
use serde::{Deserialize, Serialize};

/// A range of versions; every comparator must hold.
///
/// A bare `3.11` is every 3.11.x. Ecosystems disagree about it; the narrow reading is the one that never runs an action
/// on a version its author has not seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionRange(VersionReq);

/// Why a text is not a version range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version range {text:?} is not valid: {reason}; such as '>=3.11, <4' is expected")]
pub struct InvalidVersionRange {
    text: String,
    reason: String,
}

impl VersionRange {
    /// Whether the version lies in the range.
    ///
    /// A pre-release is judged by the release it leads to, and is older than that release: 3.13.0-b.2 satisfies
    /// `>=3.12`, but not `>=3.13`. (The semver crate's own rule, which fits library upgrades, lets no range without a
    /// pre-release accept one.)
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        if version.pre.is_empty() || self.0.matches(version) {
            return self.0.matches(version);
        }
        let release = Version::new(version.major, version.minor, version.patch);
        self.0.matches(&release)
            && !self.0.comparators.iter().any(|comparator| starts_at(comparator, &release))
    }
}

/// Whether the comparator's lower end is exactly this release.
fn starts_at(comparator: &Comparator, release: &Version) -> bool {
    matches!(comparator.op, Op::Exact | Op::GreaterEq | Op::Tilde | Op::Caret)
        && comparator.major == release.major
        && comparator.minor.unwrap_or(0) == release.minor
        && comparator.patch.unwrap_or(0) == release.patch
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialOrd for VersionRange {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VersionRange {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl FromStr for VersionRange {
    type Err = InvalidVersionRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = |reason: String| InvalidVersionRange { text: text.chars().take(80).collect(), reason };
        let mut comparators = Vec::new();
        for word in words(text) {
            comparators.push(comparator(&word).map_err(&fault)?);
        }
        if comparators.is_empty() {
            return Err(fault("it is empty".to_owned()));
        }
        Ok(Self(VersionReq { comparators }))
    }
}

/// One operator and number each: commas and blanks separate, blanks behind an operator do not.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in text.split([',', ' ', '\t']).filter(|part| !part.is_empty()) {
        match words.last_mut() {
            Some(last) if last.ends_with(['<', '>', '=', '~', '^', '!']) => last.push_str(part),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn comparator(word: &str) -> Result<Comparator, String> {
    let split = word.find(|c: char| !"<>=~^!".contains(c)).unwrap_or(word.len());
    let (operator, number) = word.split_at(split);
    let op = match operator {
        "" | "=" | "==" => Op::Exact,
        ">" => Op::Greater,
        ">=" => Op::GreaterEq,
        "<" => Op::Less,
        "<=" => Op::LessEq,
        // `~` is npm's and Cargo's word for "the patch may grow"
        "~" => Op::Tilde,
        // Ruby's `~>` and Python's `~=` let the last number written grow
        "~>" | "~=" if number.matches('.').count() >= 2 => Op::Tilde,
        "~>" | "~=" | "^" => Op::Caret,
        other => return Err(format!("'{other}' is not supported")),
    };
    let number = number.trim_start_matches('v');
    let number = number.strip_suffix(".*").or_else(|| number.strip_suffix(".x")).unwrap_or(number);
    // the semver crate reads partial versions and pre-releases; only its comparator parser is public
    let parsed = Comparator::parse(&format!("={number}"))
        .map_err(|_| format!("'{number}' is not a version number"))?;
    if parsed.op == Op::Wildcard {
        return Err(format!("'{number}' is not a version number"));
    }
    Ok(Comparator { op, ..parsed })
}

impl TryFrom<String> for VersionRange {
    type Error = InvalidVersionRange;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<VersionRange> for String {
    fn from(range: VersionRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_people_mean() {
        for (range, inside, outside) in [
            ("3.11", vec!["3.11.0", "3.11.9"], vec!["3.12.0", "3.10.9", "4.0.0"]),
            ("==3.11", vec!["3.11.2"], vec!["3.12.0"]),
            (">=3.11", vec!["3.11.0", "3.12.1", "4.0.0", "3.13.0-b.2"], vec!["3.10.9", "3.11.0-rc.1"]),
            (">= 3.11 , < 4", vec!["3.11.0", "3.99.0"], vec!["4.0.0", "4.0.0-a.1"]),
            (">=18 <23", vec!["18.0.0", "22.9.9"], vec!["17.9.9", "23.0.0"]),
            ("18.x", vec!["18.1.0"], vec!["19.0.0"]),
            ("~3.1", vec!["3.1.2"], vec!["3.2.0"]),
            ("~>3.1", vec!["3.1.2", "3.2.0"], vec!["4.0.0", "3.0.9"]),
            ("~=3.1.2", vec!["3.1.9"], vec!["3.2.0", "3.1.1"]),
            ("^1.2", vec!["1.9.0"], vec!["2.0.0", "1.1.0"]),
            ("=3.13.0-b.2", vec!["3.13.0-b.2"], vec!["3.13.0"]),
            ("v21", vec!["21.0.2"], vec!["22.0.0"]),
        ] {
            let parsed: VersionRange = range.parse().unwrap();
            for version in inside {
                assert!(parsed.contains(&version.parse().unwrap()), "{version} must satisfy {range}");
            }
            for version in outside {
                assert!(!parsed.contains(&version.parse().unwrap()), "{version} must not satisfy {range}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ",", ">=", "*", "3.11 || 4", "latest", "!=3", "3.11.1.1.1", "=>3"] {
            assert!(text.parse::<VersionRange>().is_err(), "{text:?}");
        }
    }
}
