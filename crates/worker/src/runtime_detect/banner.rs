//! Recognises an interpreter by what it answers when asked for its version.

use std::sync::LazyLock;

use regex::Regex;
use semver::Version;

use super::Kind;
use super::version;

/// What an answer says about the interpreter that gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Banner {
    /// Normalised version; `None` when the interpreter is recognised and its version is not told.
    pub(super) version: Option<Version>,
    /// The version word as printed.
    pub(super) raw: Option<String>,
    /// Which implementation of the language it is, when the answer tells.
    pub(super) implementation: Option<&'static str>,
    /// The line that tells the version.
    pub(super) line: Option<String>,
}

/// One form of answer: a pattern over the whole text (group 1 is the version, group 2 a label behind it).
struct Form {
    pattern: Regex,
    parse: fn(&str) -> Option<Version>,
    implementation: Option<&'static str>,
}

fn form(pattern: &str, parse: fn(&str) -> Option<Version>, implementation: Option<&'static str>) -> Form {
    let pattern = Regex::new(&format!("(?m){pattern}")).expect("the table's patterns are valid");
    Form { pattern, parse, implementation }
}

/// The forms of one family, the most specific first.
fn forms(kind: Kind) -> &'static [Form] {
    static FORMS: LazyLock<[Vec<Form>; 8]> = LazyLock::new(|| {
        use version::{go, java, node, normalise, perl};
        [
            // shell
            vec![
                form(
                    r"^GNU bash, [Vv]ersion (\d[\da-z.]*)\(\d+\)-(alpha|beta|rc\d*)?",
                    // 2.05b is a release after 2.05a, not a beta of 2.05
                    |word| normalise(word.split(char::is_alphabetic).next()?),
                    Some("bash"),
                ),
                form(r"^zsh (\d[^\s]*)", normalise, Some("zsh")),
                form(r"^BusyBox v(\d[^\s]*)", normalise, Some("busybox")),
                form(r"^toybox v?(\d[^\s]*)", normalise, Some("toybox")),
                form(r"^Yet another shell, version (\d[^\s]*)", normalise, Some("yash")),
                // "93u+m/1.0.4 2022-10-22" counts releases of 1993's shell: kept raw, never a semantic version
                form(r"^\s*version\s+sh \(AT&T Research\) ([^\s]+)", |_| None, Some("ksh93")),
            ],
            // python; PyPy tells the language version first, its own in the second line
            vec![
                form(r"^Python (\d[^\s]*)[^\n]*\n\[PyPy", normalise, Some("pypy")),
                form(r"^GraalPy (\d[^\s]*)", normalise, Some("graalpy")),
                form(r"^Python (\d[^\s]*)", normalise, None),
            ],
            // node
            vec![form(r"^(v\d[^\s]*)\s*$", node, None)],
            // ruby: other implementations tell the language version that they follow
            vec![
                form(r"^jruby [^\s]+ \((\d[^\s)]*)\)", normalise, Some("jruby")),
                form(r"^truffleruby [^\n]*like ruby (\d[^\s,]*)", normalise, Some("truffleruby")),
                form(r"^ruby (\d[^\s]*)", normalise, None),
            ],
            // go
            vec![
                form(r"^go version go(\d[^\s]*) gccgo", go, Some("gccgo")),
                form(
                    r"^go version devel go(\d[^\s]*)",
                    |word| go(&format!("{}-devel", word.split('-').next()?)),
                    None,
                ),
                form(r"^go version go(\d[^\s]*)", go, None),
                form(r"^go version devel ([^\s]+)", |_| None, None),
            ],
            // java
            vec![
                form(r#"^(?:java|openjdk) version "([^"\n]+)"[^\x00]*OpenJ9"#, java, Some("openj9")),
                form(r#"^(?:java|openjdk) version "([^"\n]+)"[^\x00]*IBM J9"#, java, Some("ibm-j9")),
                form(r#"^(?:java|openjdk) version "([^"\n]+)"[^\x00]*GraalVM"#, java, Some("graalvm")),
                form(r#"^(?:java|openjdk) version "([^"\n]+)""#, java, None),
            ],
            // r
            vec![
                form(
                    r"^(?:R|Rscript \(R\)|R scripting front-end) version (\d[^\s]*)(?: (alpha|beta|RC|Under development))?",
                    version::normalise,
                    None,
                ),
                form(r"^R (Under development)", |_| None, None),
            ],
            // perl: "v5.36.0" stands in parentheses since 5.10
            vec![
                form(r"^This is perl[^\n]*\(v(\d[^\s)*]*)\*?\)", perl, None),
                form(r"^This is perl, (?:version |v)(\d[^\s]*)", perl, None),
            ],
        ]
    });
    &FORMS[kind as usize]
}

/// Reads `text`, the answer of a presumed interpreter of family `kind`. `None`: this is some other program.
pub(super) fn read(kind: Kind, text: &str) -> Option<Banner> {
    for form in forms(kind) {
        let Some(groups) = form.pattern.captures(text) else { continue };
        let start = groups.get(0).map_or(0, |whole| whole.start());
        let word = groups.get(1).map_or("", |group| group.as_str());
        let label = groups.get(2).map_or("", |group| group.as_str());
        let version = (form.parse)(word);
        return Some(Banner {
            version: if label.is_empty() { version } else { version.map(|v| version::with_label(v, label)) },
            raw: Some(if label.is_empty() { word.to_owned() } else { format!("{word} {label}") }),
            implementation: form.implementation,
            // not the first line of all: a warning may stand before it
            line: first_line(&text[start..]),
        });
    }
    None
}

/// Reads the answer of a runtime that only a hints file knows: the first word that looks like a version.
pub(super) fn read_any(text: &str) -> Banner {
    static DOTTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+\.\d[^\s,;:()\[\]]*").expect("valid"));
    static PLAIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+").expect("valid"));
    let found = DOTTED.find(text).or_else(|| PLAIN.find(text));
    let raw = found.map(|word| word.as_str().trim_end_matches(['.', '-']).to_owned());
    let version = raw.as_deref().and_then(version::normalise);
    Banner { version, raw, implementation: None, line: first_line(text) }
}

/// An answer that is accepted although it is not a success.
///
/// POSIX gives shells no `--version`; these are the words with which the ones that lack it refuse the option,
/// found by running them (Debian 12): dash 0.5.12 exits with 2, mksh 59c, lksh and posh 0.14 with 1,
/// ksh93u+m 1.0.4 prints its version and exits with 2.
pub(super) fn shell_refusal(code: Option<i32>, text: &str) -> Option<Banner> {
    let known = match code {
        Some(2) => text.contains("Illegal option --") || text.contains("sh (AT&T Research)"),
        Some(1) => text.contains("--: unknown option"),
        _ => false,
    };
    // every answer but ksh93's is a complaint, not a banner
    known.then(|| read(Kind::Shell, text).unwrap_or_default())
}

/// The first line with something on it, printable and at most 200 characters long.
pub(super) fn first_line(text: &str) -> Option<String> {
    const LONGEST: usize = 200;
    text.lines().map(printable).find(|line| !line.is_empty()).map(|line| {
        if line.chars().count() <= LONGEST {
            return line;
        }
        let mut short: String = line.chars().take(LONGEST - 1).collect();
        short.push('…');
        short
    })
}

/// `line` without terminal control sequences and control characters, trimmed.
fn printable(line: &str) -> String {
    static SEQUENCE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?").expect("valid")
    });
    let plain = SEQUENCE.replace_all(line, "");
    plain.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::families::FAMILIES;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_programs_are_not_recognised() {
        for (kind, text) in [
            (Kind::Node, "ax25-node 0.3.2"),
            (Kind::Node, "deno 1.44.0 (release, x86_64-unknown-linux-gnu)\nv8 12.6.228.3"),
            (Kind::Ruby, "mruby 3.2.0 (2023-02-24)"),
            (Kind::Perl, "This is Rakudo Perl 6 version 2018.12"),
            (Kind::Go, "GNU Go 3.8"),
            (Kind::Python, ""),
        ] {
            assert_eq!(read(kind, text), None, "{text}");
        }
    }

    #[test]
    fn a_hinted_runtime_is_read_generically() {
        for (text, raw, version) in [
            ("Lua 5.4.6  Copyright (C) 1994-2023", "5.4.6", "5.4.6"),
            ("PHP 8.2.7 (cli) (built: Jun  9 2023)", "8.2.7", "8.2.7"),
            ("Erlang/OTP 26 [erts-14.0]", "14.0", "14.0.0"),
            ("tclsh 9", "9", "9.0.0"),
        ] {
            let banner = read_any(text);
            assert_eq!(banner.raw.as_deref(), Some(raw), "{text}");
            assert_eq!(banner.version.unwrap().to_string(), version, "{text}");
        }
        assert_eq!(read_any("no number").version, None);
    }

    #[test]
    fn lines_are_made_printable() {
        assert_eq!(first_line("\n \t\n\x1b[31mred\x1b[0m\x07 line\r\nnext"), Some("red line".to_owned()));
        assert_eq!(first_line("\n\n"), None);
        assert_eq!(first_line(&"é".repeat(500)).unwrap().chars().count(), 200);
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(text in "(?s).{0,200}", prefix in 0usize..8) {
            let starts = ["Python ", "go version go", "ruby ", "This is perl (v", "v", "R version ", "GNU bash, version ", "java version \""];
            let answer = format!("{}{text}", starts[prefix]);
            for family in &FAMILIES {
                let _ = read(family.kind, &answer);
                let _ = shell_refusal(Some(2), &answer);
            }
            let _ = read_any(&text);
            let _ = first_line(&text);
        }
    }
}
