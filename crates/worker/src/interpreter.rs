//! Which of the installed interpreters runs an execution.

use attune_common::requirement::Requirement;

use crate::runtime_detect::{Detection, Interpreter, Runtime};

/// The interpreter for a requirement: with a version range the highest version in it, otherwise the default one.
///
/// An interpreter known not to run source files (a Java runtime without compiler) comes last.
#[must_use]
pub fn choose<'a>(
    detection: &'a Detection,
    requirement: &Requirement,
) -> Option<(&'a Runtime, &'a Interpreter)> {
    let runtime = detection.runtime(requirement.runtime())?;
    let fitting = runtime.interpreters.iter().filter(|one| requirement.accepts_version(one.version.as_ref()));
    let runs_source = |one: &Interpreter| one.runs_source != Some(false);
    let chosen = if requirement.version().is_some() {
        // max_by_key takes the last of equals; of two equal versions the first on PATH is meant
        fitting.rev().max_by_key(|one| (runs_source(one), one.version.clone()))
    } else {
        fitting.rev().max_by_key(|one| runs_source(one))
    };
    chosen.map(|interpreter| (runtime, interpreter))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::runtime_detect::{Host, SCHEMA_VERSION, Source, Timing};

    /// A machine with one runtime and these interpreters: path, version, and whether it runs source files.
    fn machine(runtime: &str, interpreters: &[(&str, &str, Option<bool>)]) -> Detection {
        let interpreters = interpreters.iter().map(|(path, version, runs_source)| Interpreter {
            path: PathBuf::from(path),
            resolved: PathBuf::from(path),
            aliases: Vec::new(),
            args: Vec::new(),
            version: version.parse().ok(),
            raw_version: None,
            implementation: None,
            banner: None,
            on_path: true,
            runs_source: *runs_source,
        });
        let runtime = Runtime {
            name: runtime.to_owned(),
            source: Source::BuiltIn,
            file_extension: None,
            args: Vec::new(),
            interpreters: interpreters.collect(),
        };
        Detection {
            schema_version: SCHEMA_VERSION,
            host: Host { os: "linux".to_owned(), arch: "x86_64".to_owned() },
            runtimes: vec![runtime],
            rejected: Vec::new(),
            missing: Vec::new(),
            hints: None,
            searched: Vec::new(),
            timing: Timing::default(),
        }
    }

    #[test]
    fn with_a_range_the_highest_in_it_runs_and_without_one_the_default() {
        let python = machine(
            "python",
            &[
                ("/usr/bin/python3", "3.11.2", None),
                ("/opt/a/python3", "3.13.0", None),
                ("/opt/b/python3", "3.9.18", None),
                ("/opt/c/python3", "3.13.0", None),
                ("/opt/d/python3", "", None),
            ],
        );
        let java = machine(
            "java",
            &[("/opt/jre/java", "21.0.0", Some(false)), ("/opt/jdk/java", "17.0.0", Some(true))],
        );
        for (detection, requirement, path) in [
            (&python, "python", Some("/usr/bin/python3")),
            (&python, "python >=3.8", Some("/opt/a/python3")),
            (&python, "python >=3.8, <3.13", Some("/usr/bin/python3")),
            (&python, "python 3.9", Some("/opt/b/python3")),
            (&python, "python >=3.14", None),
            (&python, "ruby", None),
            (&java, "java", Some("/opt/jdk/java")),
            (&java, "java >=11", Some("/opt/jdk/java")),
            (&java, "java >=18", Some("/opt/jre/java")),
        ] {
            let chosen = choose(detection, &requirement.parse().unwrap());
            assert_eq!(chosen.and_then(|(_, one)| one.path.to_str()), path, "{requirement}");
        }
    }
}
