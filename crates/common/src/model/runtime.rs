//! Runtimes: the built-in ones with the names that people give them, and those that workers have brought.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The runner type of an action that is started by itself, without an interpreter.
pub const NATIVE: &str = "native";

/// The runner type of an action that only names other actions.
pub const GROUP: &str = "group";

/// Built-in runtimes, each with the aliases that manifests may use.
pub const BUILT_IN: [(&str, &[&str]); 8] = [
    ("shell", &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox", "posix"]),
    ("python", &["py", "python3", "python2", "cpython", "pypy", "pypy3"]),
    ("node", &["nodejs", "node.js", "javascript", "js"]),
    ("ruby", &["rb", "jruby", "truffleruby"]),
    ("go", &["golang"]),
    ("java", &["jdk", "jre", "jvm", "openjdk"]),
    ("r", &["rscript", "rlang", "gnu-r"]),
    ("perl", &["pl", "perl5"]),
];

/// What the built-in runtimes are called where there is room.
const LABELS: [(&str, &str); 8] = [
    ("shell", "POSIX shell"),
    ("python", "Python"),
    ("node", "Node.js"),
    ("ruby", "Ruby"),
    ("go", "Go"),
    ("java", "Java"),
    ("r", "R"),
    ("perl", "Perl"),
];

/// A runtime as the store knows it. Its row is made when the first worker that offers it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Canonical name, such as `python`.
    pub name: String,
    /// What people call it; its name, where it is not built in.
    pub label: String,
    /// Whether every Attune knows it.
    pub built_in: bool,
    /// Name of the worker that was the first to offer it.
    pub registered_by: String,
    /// When that was.
    pub registered_at: Timestamp,
}

/// The label of a runtime, and whether it is built in: the template of its row.
#[must_use]
pub fn template(name: &str) -> (&str, bool) {
    LABELS.iter().find(|(known, _)| *known == name).map_or((name, false), |(_, label)| (label, true))
}

/// The canonical name of a runtime: aliases of the built-in ones are resolved, other names are lower-cased.
#[must_use]
pub fn canonical_name(name: &str) -> String {
    let name = name.trim().to_lowercase();
    BUILT_IN
        .iter()
        .find(|(canonical, aliases)| *canonical == name || aliases.contains(&name.as_str()))
        .map_or(name, |(canonical, _)| (*canonical).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_runtimes_have_labels_and_others_their_names() {
        for (name, _) in BUILT_IN {
            assert!(template(name).1, "{name}");
        }
        assert_eq!(template("lua"), ("lua", false));
        assert_eq!(template("node"), ("Node.js", true));
    }
}
