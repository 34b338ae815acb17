//! Whether a Java installation can start source files (`java FILE.java`).

use std::fs;
use std::path::Path;

use semver::Version;

/// Whether the `java` at `resolved` has the compiler that source launching needs (JEP 330, since version 11).
///
/// The `release` file beside `bin` lists the modules since Java 9; where it does not, a `javac` in `bin` tells as
/// much. `None` when neither is conclusive.
pub(super) fn runs_source(resolved: &Path, version: Option<&Version>) -> Option<bool> {
    if version.is_some_and(|version| version.major < 11) {
        return Some(false);
    }
    let bin = resolved.parent()?;
    let release = fs::read_to_string(bin.parent()?.join("release")).unwrap_or_default();
    let modules = release.lines().find_map(|line| line.strip_prefix("MODULES="));
    match modules {
        Some(modules) => {
            Some(modules.trim_matches('"').split_whitespace().any(|module| module == "jdk.compiler"))
        }
        None => bin.join("javac").exists().then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jdk_a_jre_and_an_old_one() {
        let home = tempfile::tempdir().unwrap();
        let java = home.path().join("bin/java");
        fs::create_dir(home.path().join("bin")).unwrap();
        let ask = |major| runs_source(&java, Some(&Version::new(major, 0, 0)));
        assert_eq!(ask(21), None);
        fs::write(home.path().join("bin/javac"), "").unwrap();
        assert_eq!((ask(21), ask(8)), (Some(true), Some(false)));
        fs::write(
            home.path().join("release"),
            "JAVA_VERSION=\"21\"\nMODULES=\"java.base jdk.compiler.extra\"\n",
        )
        .unwrap();
        assert_eq!(ask(21), Some(false));
        fs::write(home.path().join("release"), "MODULES=\"java.base jdk.compiler jdk.jfr\"\n").unwrap();
        assert_eq!((ask(21), runs_source(&java, None)), (Some(true), Some(true)));
        assert_eq!(runs_source(Path::new("java"), None), None);
    }
}
