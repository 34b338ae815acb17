//! What a detection found: the types of the `--format json` document.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::Rejection;

/// Version of the document that [`Detection`] serialises as. It grows when a field changes its meaning or
/// disappears; new fields may appear without it.
pub const SCHEMA_VERSION: u32 = 1;

/// What a search found on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// The machine.
    pub host: Host,
    /// Runtimes with at least one usable interpreter: the built-in ones in their fixed order, then those that only
    /// a hints file defines, in its order.
    pub runtimes: Vec<Runtime>,
    /// Candidates that cannot be used, with the reason; sorted by runtime, then directory and name.
    pub rejected: Vec<Rejected>,
    /// Runtimes that were looked for and have no usable interpreter.
    pub missing: Vec<String>,
    /// The hints file that was read, if any.
    #[serde(with = "lossy::option")]
    pub hints: Option<PathBuf>,
    /// The directories that were looked into, in order.
    #[serde(with = "lossy::list")]
    pub searched: Vec<PathBuf>,
    /// How long it took.
    pub timing: Timing,
}

/// The machine that was searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system, in Rust's words (`linux`).
    pub os: String,
    /// Processor architecture, in Rust's words (`x86_64`, `aarch64`).
    pub arch: String,
}

/// How long a detection took, in milliseconds of wall time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// From the first look to the finished result.
    pub total_ms: u64,
    /// The slowest candidate, measured while the others ran beside it.
    pub slowest_probe_ms: u64,
    /// Which candidate that was.
    #[serde(with = "lossy::option")]
    pub slowest_probe: Option<PathBuf>,
    /// How many candidates were run.
    pub probes: usize,
}

/// A language runtime with its interpreters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Canonical name: `shell`, `python`, `node`, `ruby`, `go`, `java`, `r`, `perl`, or one that a hints file defines.
    pub name: String,
    /// Where the definition comes from.
    pub source: Source,
    /// Extension of its scripts, without the dot.
    pub file_extension: Option<String>,
    /// Arguments between interpreter and script (`go`: `run`).
    pub args: Vec<String>,
    /// Usable interpreters; the first is the default.
    pub interpreters: Vec<Interpreter>,
}

/// Where a runtime's definition comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// One of the eight that detection knows by itself.
    BuiltIn,
    /// A hints file added or replaced it.
    Hints,
    /// The worker's configuration names it.
    Configured,
}

/// One installed interpreter that ran and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The path that a person would type.
    #[serde(with = "lossy::one")]
    pub path: PathBuf,
    /// The file behind that path, without symbolic links.
    #[serde(with = "lossy::one")]
    pub resolved: PathBuf,
    /// Other paths that reach the same interpreter.
    #[serde(with = "lossy::list")]
    pub aliases: Vec<PathBuf>,
    /// Arguments that make the file this interpreter, before those of the runtime (`busybox`: `sh`).
    pub args: Vec<String>,
    /// Its version, comparable; `None` when it does not tell one (dash), which is no fault.
    pub version: Option<Version>,
    /// The version word as the interpreter printed it (`1.8.0_392`).
    pub raw_version: Option<String>,
    /// The implementation, when it is not the usual one or the language has several (`dash`, `pypy`, `openj9`).
    pub implementation: Option<String>,
    /// The line of its answer that tells the version.
    pub banner: Option<String>,
    /// Whether the search path leads to it.
    pub on_path: bool,
    /// For Java: whether `java FILE.java` works (JEP 330), which takes version 11 and the compiler module, so a JDK
    /// or a JRE that kept it. `None`: not Java, or it cannot be told.
    pub runs_source: Option<bool>,
}

/// A candidate that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The runtime that it would have belonged to.
    pub runtime: String,
    /// Where it was found.
    #[serde(with = "lossy::one")]
    pub path: PathBuf,
    /// Why not.
    pub reason: Rejection,
}

impl Detection {
    /// The C library that the interpreters were made for, as their dynamic loaders tell it: `glibc` or `musl`. `None` where all of
    /// them are static.
    #[must_use]
    pub fn libc(&self) -> Option<&'static str> {
        let interpreters = self.runtimes.iter().flat_map(|runtime| &runtime.interpreters);
        interpreters
            .filter_map(|one| super::loader_of(&one.resolved))
            .find_map(|loader| super::elf::libc_of(&loader))
    }

    /// The runtime with the canonical name `name`, if it is usable.
    #[must_use]
    pub fn runtime(&self, name: &str) -> Option<&Runtime> {
        self.runtimes.iter().find(|runtime| runtime.name == name)
    }

    /// Takes an interpreter out, and its runtime with the last one.
    pub fn remove(&mut self, runtime: &str, interpreter: &Interpreter) {
        for of in self.runtimes.iter_mut().filter(|of| of.name == runtime) {
            of.interpreters.retain(|one| (&one.path, &one.args) != (&interpreter.path, &interpreter.args));
        }
        self.runtimes.retain(|of| !of.interpreters.is_empty());
    }

    /// The canonical names of the usable runtimes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.runtimes.iter().map(|runtime| runtime.name.as_str())
    }

    /// The exit status of `--detect-only`: 0 when at least one runtime is usable, 3 when none is.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.runtimes.is_empty() { 3 } else { 0 }
    }
}

impl Runtime {
    /// The interpreter that is used when nothing asks for another. `None` only for a hand-made value.
    #[must_use]
    pub fn default_interpreter(&self) -> Option<&Interpreter> {
        self.interpreters.first()
    }

    /// The words that run `script` with `interpreter`: its path, its arguments, the runtime's, the script.
    #[must_use]
    pub fn command(&self, interpreter: &Interpreter, script: &Path) -> Vec<OsString> {
        let args = interpreter.args.iter().chain(&self.args).map(OsString::from);
        let path = std::iter::once(interpreter.path.clone().into_os_string());
        path.chain(args).chain([script.as_os_str().to_owned()]).collect()
    }
}

/// Paths as text. A path that is not UTF-8 must not make the whole document fail, so its odd bytes are replaced.
mod lossy {
    use std::path::{Path, PathBuf};

    fn text(path: &Path) -> std::borrow::Cow<'_, str> {
        path.to_string_lossy()
    }

    pub(super) mod one {
        use super::{Path, PathBuf, text};
        use serde::{Deserialize, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&text(path))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
            PathBuf::deserialize(deserializer)
        }
    }

    pub(super) mod option {
        use super::{PathBuf, text};
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
        pub(crate) fn serialize<S: Serializer>(
            path: &Option<PathBuf>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            path.as_deref().map(text).serialize(serializer)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<PathBuf>, D::Error> {
            Option::deserialize(deserializer)
        }
    }

    pub(super) mod list {
        use super::{PathBuf, text};
        use serde::{Deserialize, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(paths.iter().map(|path| text(path)))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<PathBuf>, D::Error> {
            Vec::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_text_does_not_spoil_the_document() {
        use std::os::unix::ffi::OsStringExt;

        let path = PathBuf::from(OsString::from_vec(b"/opt/caf\xe9/bin/python3".to_vec()));
        let rejected = Rejected { runtime: "python".to_owned(), path, reason: Rejection::UnknownFormat };
        let document = serde_json::to_value(&rejected).unwrap();
        assert_eq!(document["path"], "/opt/caf\u{fffd}/bin/python3");
        let dangling = Rejection::DanglingLink { target: PathBuf::from(OsString::from_vec(vec![0xff])) };
        assert_eq!(serde_json::to_value(&dangling).unwrap()["target"], "\u{fffd}");
    }
}
