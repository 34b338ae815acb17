//! The eight built-in language families: their names, their files, how they are asked for a version.

use std::sync::LazyLock;

use regex::Regex;

use super::Kind;

/// What detection knows about one built-in runtime before it looks at the machine.
pub(super) struct Family {
    pub(super) kind: Kind,
    /// Canonical runtime name.
    pub(super) name: &'static str,
    /// Other names that people give it, lower-case.
    pub(super) aliases: &'static [&'static str],
    /// What a person types to start it, most usual first: these decide the default interpreter.
    pub(super) usual: &'static [&'static str],
    /// Every file name that belongs to the family, versioned ones included.
    pub(super) pattern: &'static str,
    /// Extension of its scripts, without the dot.
    pub(super) extension: &'static str,
    /// Arguments between interpreter and script.
    pub(super) args: &'static [&'static str],
    /// Arguments that make an interpreter tell its version.
    pub(super) version_args: &'static [&'static str],
    /// Whether a virtual machine has to start before it can answer.
    pub(super) slow: bool,
}

/// The built-in families, in the order of every report.
pub(super) static FAMILIES: [Family; 8] = [
    Family {
        kind: Kind::Shell,
        name: "shell",
        aliases: &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox", "posix"],
        usual: &["bash", "sh"],
        pattern: r"^(bash(-static|-?\d[\d.]*)?|sh|dash|ash|busybox([-.](static|musl|glibc))?|zsh(5|-\d[\d.]*|-static)?|m?ksh(93|-static)?|lksh|oksh|yash|posh)$",
        extension: "sh",
        args: &[],
        version_args: &["--version"],
        slow: false,
    },
    Family {
        kind: Kind::Python,
        name: "python",
        aliases: &["py", "python3", "python2", "cpython", "pypy", "pypy3"],
        usual: &["python3", "python"],
        // 3.6m, 3.7dm and 3.13t are CPython's build flavours (PEP 3149, PEP 703);
        // platform-python is the only one that a minimal RHEL 8 has
        pattern: r"^(python(\d+(\.\d+)*[dmut]*)?|pypy(\d+(\.\d+)*)?|graalpy|platform-python(\d+(\.\d+)*)?)$",
        extension: "py",
        args: &[],
        // not --version, which Python before 2.5 does not know
        version_args: &["-V"],
        slow: false,
    },
    Family {
        kind: Kind::Node,
        name: "node",
        aliases: &["nodejs", "node.js", "javascript", "js"],
        usual: &["node", "nodejs"],
        pattern: r"^node(js)?(-?\d[\d.]*)?$",
        extension: "js",
        args: &[],
        version_args: &["--version"],
        slow: false,
    },
    Family {
        kind: Kind::Ruby,
        name: "ruby",
        aliases: &["rb", "jruby", "truffleruby"],
        usual: &["ruby"],
        // openSUSE names its files ruby.ruby3.2, Fedora's rubypick leaves ruby-mri
        pattern: r"^(ruby(\.ruby)?(-?\d[\d.]*)?|ruby-mri|jruby|truffleruby)$",
        extension: "rb",
        args: &[],
        version_args: &["--version"],
        slow: false,
    },
    Family {
        kind: Kind::Go,
        name: "go",
        aliases: &["golang"],
        usual: &["go"],
        pattern: r"^go(-?\d[\d.]*((rc|beta)\d+)?)?$",
        extension: "go",
        args: &["run"],
        version_args: &["version"],
        slow: false,
    },
    Family {
        kind: Kind::Java,
        name: "java",
        aliases: &["jdk", "jre", "jvm", "openjdk"],
        usual: &["java"],
        pattern: r"^java(-?\d[\d.]*)?$",
        extension: "java",
        args: &[],
        // one dash: `--version` came with Java 9
        version_args: &["-version"],
        slow: true,
    },
    Family {
        kind: Kind::R,
        name: "r",
        aliases: &["rscript", "rlang", "gnu-r"],
        usual: &["Rscript", "R"],
        pattern: r"^(Rscript|R)(-\d[\d.]*)?$",
        extension: "R",
        args: &[],
        version_args: &["--version"],
        slow: true,
    },
    Family {
        kind: Kind::Perl,
        name: "perl",
        aliases: &["pl", "perl5"],
        usual: &["perl"],
        pattern: r"^perl(5(\.\d+){0,2})?$",
        extension: "pl",
        args: &[],
        version_args: &["-v"],
        slow: false,
    },
];

impl Family {
    /// The compiled [`Family::pattern`].
    pub(super) fn regex(&self) -> &'static Regex {
        static COMPILED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
            FAMILIES.iter().map(|f| Regex::new(f.pattern).expect("the table's patterns are valid")).collect()
        });
        &COMPILED[self.kind as usize]
    }

    /// Whether a file called `name` belongs to this family.
    pub(super) fn owns(&self, name: &str) -> bool {
        self.regex().is_match(name)
    }

    /// Whether the file `name` starts a virtual machine, whatever the rest of the family does.
    pub(super) fn is_slow(&self, name: &str) -> bool {
        self.slow || matches!(name, "jruby" | "truffleruby" | "graalpy")
    }
}

/// The family with the canonical name `name`.
pub(super) fn by_name(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// The canonical name of a built-in runtime, from any of the names that people use.
///
/// Case does not matter, and a version at the end is dropped (`python3.12`, `Ruby-3.1`). `None` means that no
/// built-in runtime is called so; a hints file may still define it.
///
/// ```
/// use attune_worker::runtime_detect::canonical_name;
/// assert_eq!(canonical_name("NodeJS"), Some("node"));
/// assert_eq!(canonical_name("R"), Some("r"));
/// assert_eq!(canonical_name("cobol"), None);
/// ```
#[must_use]
pub fn canonical_name(name: &str) -> Option<&'static str> {
    let lower = name.trim().to_lowercase();
    let bare = lower.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    exact_name(&lower).or_else(|| exact_name(bare))
}

/// The canonical name behind `name`, which must be a name or an alias of the table as it stands there.
pub(super) fn exact_name(name: &str) -> Option<&'static str> {
    FAMILIES.iter().find(|f| f.name == name || f.aliases.contains(&name)).map(|family| family.name)
}

/// Every name and alias of the built-in runtimes, for "did you mean".
pub(super) fn all_names<'a>() -> impl Iterator<Item = &'a str> {
    FAMILIES.iter().flat_map(|f| std::iter::once(f.name).chain(f.aliases.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_indexed_by_kind() {
        for (index, family) in FAMILIES.iter().enumerate() {
            assert_eq!(family.kind as usize, index, "{}", family.name);
            for usual in family.usual {
                assert!(family.owns(usual), "{} does not own {usual}", family.name);
            }
        }
    }

    #[test]
    fn versioned_names_belong_and_neighbours_do_not() {
        let owned = |name: &str| FAMILIES.iter().find(|f| f.owns(name)).map(|f| f.name);
        for (file, family) in [
            ("python3.12", "python"),
            ("python3.6m", "python"),
            ("python3.13t", "python"),
            ("pypy3.10", "python"),
            ("platform-python3.6", "python"),
            ("ruby3.1", "ruby"),
            ("ruby.ruby3.2", "ruby"),
            ("go1.22rc1", "go"),
            ("go-12", "go"),
            ("node18", "node"),
            ("perl5.36.0", "perl"),
            ("java11", "java"),
            ("Rscript", "r"),
            ("R", "r"),
            ("ksh93", "shell"),
            ("busybox-static", "shell"),
            ("bash-5.2", "shell"),
        ] {
            assert_eq!(owned(file), Some(family), "{file}");
        }
        for file in [
            "python3-config",
            "python3.11-config",
            "perlbug",
            "perl5.36-x86_64-linux-gnu",
            "gofmt",
            "javac",
            "Rcmd",
            "r",
            "ruby-build",
            "node-gyp",
            "bashbug",
            "shasum",
            "rbash",
            "erb",
            "nodemon",
            "gopls",
            "fish",
        ] {
            assert_eq!(owned(file), None, "{file}");
        }
    }

    #[test]
    fn aliases_are_distinct_and_normalise() {
        let mut names: Vec<_> = all_names().collect();
        names.sort_unstable();
        let total = names.len();
        names.dedup();
        assert_eq!(names.len(), total, "an alias belongs to two families");
        for (alias, name) in [
            ("bash", "shell"),
            ("sh", "shell"),
            ("python3", "python"),
            ("py", "python"),
            ("Python3.11", "python"),
            ("nodejs", "node"),
            ("JavaScript", "node"),
            ("js", "node"),
            ("rb", "ruby"),
            ("ruby-3.1", "ruby"),
            ("golang", "go"),
            ("jdk", "java"),
            ("jre", "java"),
            ("openjdk", "java"),
            ("java21", "java"),
            ("Rscript", "r"),
            ("R", "r"),
            ("perl5", "perl"),
            (" shell ", "shell"),
        ] {
            assert_eq!(canonical_name(alias), Some(name), "{alias}");
        }
        for unknown in ["", "7", "cobol", "-", "pythn"] {
            assert_eq!(canonical_name(unknown), None, "{unknown}");
        }
    }
}
