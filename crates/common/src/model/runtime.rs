//! The names of the built-in runtimes, and the other names that people give them.

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

/// The canonical name of a runtime: aliases of the built-in ones are resolved, other names are lower-cased.
#[must_use]
pub fn canonical_name(name: &str) -> String {
    let name = name.trim().to_lowercase();
    BUILT_IN
        .iter()
        .find(|(canonical, aliases)| *canonical == name || aliases.contains(&name.as_str()))
        .map_or(name, |(canonical, _)| (*canonical).to_owned())
}
