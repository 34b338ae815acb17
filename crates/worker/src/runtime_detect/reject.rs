//! Why a candidate is not an interpreter that can be advertised.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::elf;

/// The reason for which a candidate was turned down. Its `Display` is a sentence for people; it serialises as an
/// object with a `kind`, the fields of that kind, and the sentence as `message`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rejection {
    /// A hints file names an interpreter that does not exist.
    NotFound,
    /// A symbolic link whose target does not exist, or that leads back to itself.
    DanglingLink {
        /// Where the link points, as written in it.
        target: PathBuf,
    },
    /// Nobody may execute the file.
    NotExecutable {
        /// Its permission bits, as `ls` and `chmod` write them in octal.
        mode: String,
    },
    /// This user may not execute the file, or its file system forbids execution.
    PermissionDenied {
        /// What denies it, as far as that can be told.
        detail: String,
    },
    /// An ELF binary for another processor.
    WrongArchitecture {
        /// The processor that the file is for.
        found: String,
        /// The processor of this machine.
        host: String,
    },
    /// An ELF binary whose program interpreter (dynamic loader) is not on this machine: typically a glibc binary
    /// in a musl container, or the other way round.
    MissingLoader {
        /// The loader that the file asks for.
        loader: PathBuf,
    },
    /// A script whose `#!` line names a program that does not exist.
    MissingScriptInterpreter {
        /// The program after `#!`.
        target: PathBuf,
    },
    /// The kernel does not know how to execute the file: neither an ELF binary nor a script with a `#!` line.
    UnknownFormat,
    /// The file could not be started, for a reason that the file itself does not explain.
    CannotStart {
        /// The system's error.
        error: String,
    },
    /// It ran, and ended with a failure.
    Failed {
        /// Exit status, when it ended by itself.
        status: Option<i32>,
        /// Signal number, when it was killed.
        signal: Option<i32>,
        /// First line that it wrote to standard error (or, without one, to standard output).
        first_line: Option<String>,
    },
    /// It did not answer within its limit; its process group was killed.
    TimedOut {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// It ran successfully, and its answer is not that of the interpreter it is named after.
    Unrecognised {
        /// First line of the answer.
        first_line: Option<String>,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found"),
            Self::DanglingLink { target } => write!(f, "dangling link to {}", target.display()),
            Self::NotExecutable { mode } => write!(f, "not executable (mode {mode})"),
            Self::PermissionDenied { detail } => write!(f, "permission denied: {detail}"),
            Self::WrongArchitecture { found, host } => {
                write!(f, "wrong architecture: built for {found}, this machine is {host}")
            }
            Self::MissingLoader { loader } => write!(f, "its loader {} is missing", loader.display()),
            Self::MissingScriptInterpreter { target } => {
                // escaped, to show the carriage return of a file with DOS line ends
                write!(f, "script for {}, which is missing", target.to_string_lossy().escape_debug())
            }
            Self::UnknownFormat => f.write_str("neither a binary nor a script with a #! line"),
            Self::CannotStart { error } => write!(f, "cannot be started: {error}"),
            Self::Failed { status, signal, first_line } => {
                match (status, signal) {
                    (Some(status), _) => write!(f, "exit status {status}")?,
                    (None, Some(signal)) => write!(f, "killed by {}", signal_name(*signal))?,
                    (None, None) => f.write_str("ended in an unknown way")?,
                }
                first_line.as_ref().map_or(Ok(()), |line| write!(f, ": {line}"))
            }
            Self::TimedOut { limit_ms } => write!(f, "no answer within {} s", seconds(*limit_ms)),
            Self::Unrecognised { first_line: Some(line) } => {
                write!(f, "answers as some other program: {line}")
            }
            Self::Unrecognised { first_line: None } => f.write_str("answers nothing"),
        }
    }
}

/// `1500` as `1.5`, `2000` as `2`.
fn seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn signal_name(number: i32) -> String {
    rustix::process::Signal::from_named_raw(number).map_or_else(
        || format!("signal {number}"),
        |signal| format!("{signal:?}").trim_matches('"').replace("Signal::", "SIG"),
    )
}

impl Serialize for Rejection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind())?;
        map.serialize_entry("message", &self.to_string())?;
        match self {
            Self::NotFound | Self::UnknownFormat => {}
            Self::DanglingLink { target } | Self::MissingScriptInterpreter { target } => {
                map.serialize_entry("target", &target.to_string_lossy())?;
            }
            Self::NotExecutable { mode } => map.serialize_entry("mode", mode)?,
            Self::PermissionDenied { detail } => map.serialize_entry("detail", detail)?,
            Self::WrongArchitecture { found, host } => {
                map.serialize_entry("found", found)?;
                map.serialize_entry("host", host)?;
            }
            Self::MissingLoader { loader } => map.serialize_entry("loader", &loader.to_string_lossy())?,
            Self::CannotStart { error } => map.serialize_entry("error", error)?,
            Self::Failed { status, signal, first_line } => {
                map.serialize_entry("status", status)?;
                map.serialize_entry("signal", signal)?;
                map.serialize_entry("first_line", first_line)?;
            }
            Self::TimedOut { limit_ms } => map.serialize_entry("limit_ms", limit_ms)?,
            Self::Unrecognised { first_line } => map.serialize_entry("first_line", first_line)?,
        }
        map.end()
    }
}

impl Rejection {
    /// The name of the variant in the serialised form.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::DanglingLink { .. } => "dangling_link",
            Self::NotExecutable { .. } => "not_executable",
            Self::PermissionDenied { .. } => "permission_denied",
            Self::WrongArchitecture { .. } => "wrong_architecture",
            Self::MissingLoader { .. } => "missing_loader",
            Self::MissingScriptInterpreter { .. } => "missing_script_interpreter",
            Self::UnknownFormat => "unknown_format",
            Self::CannotStart { .. } => "cannot_start",
            Self::Failed { .. } => "failed",
            Self::TimedOut { .. } => "timed_out",
            Self::Unrecognised { .. } => "unrecognised",
        }
    }
}

/// Looks at the directory entry `path` before anything is run.
///
/// `Ok(None)`: not a candidate at all (it vanished, or is a directory, device, …).
/// `Ok(Some(metadata))`: a file that may be run; `Err`: a candidate that cannot.
pub(super) fn inspect(path: &Path) -> Result<Option<fs::Metadata>, Rejection> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return match fs::read_link(path) {
                Ok(_) if error.kind() == io::ErrorKind::PermissionDenied => {
                    Err(Rejection::PermissionDenied {
                        detail: "a directory behind this link is closed".to_owned(),
                    })
                }
                Ok(target) => Err(Rejection::DanglingLink { target }),
                Err(_) => Ok(None),
            };
        }
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o111 == 0 {
        return Err(Rejection::NotExecutable { mode: format!("{mode:04o}") });
    }
    if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(denied(path, mode));
    }
    Ok(Some(metadata))
}

fn denied(path: &Path, mode: u32) -> Rejection {
    let noexec = rustix::fs::statvfs(path)
        .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC));
    let detail = if noexec {
        "its file system is mounted noexec".to_owned()
    } else {
        format!("its mode is {mode:04o}")
    };
    Rejection::PermissionDenied { detail }
}

/// Explains why the system refused to start `path`, from the file's own beginning.
///
/// The file is judged after the attempt, not before: `binfmt_misc` may run what looks foreign.
pub(super) fn explain(path: &Path, error: &io::Error) -> Rejection {
    let refusal = || Rejection::CannotStart { error: error.to_string() };
    let Ok((head, file)) = head(path) else { return refusal() };
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            use std::os::unix::fs::PermissionsExt;
            denied(path, fs::metadata(path).map_or(0, |m| m.permissions().mode() & 0o7777))
        }
        io::ErrorKind::NotFound => {
            if let Some(target) = script_interpreter(&head) {
                return Rejection::MissingScriptInterpreter { target };
            }
            match elf::loader(&head, &file) {
                Some(loader) if !loader.exists() => Rejection::MissingLoader { loader },
                _ => refusal(),
            }
        }
        // ENOEXEC, which the standard library has no name for
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            match elf::foreign(&head) {
                Some((found, host)) => Rejection::WrongArchitecture { found, host },
                None if head.starts_with(b"\x7fELF") => refusal(),
                None => Rejection::UnknownFormat,
            }
        }
        _ => refusal(),
    }
}

/// The first 4 KiB of a file, and the file.
fn head(path: &Path) -> io::Result<(Vec<u8>, File)> {
    let file = File::open(path)?;
    let mut head = Vec::with_capacity(4096);
    (&file).take(4096).read_to_end(&mut head)?;
    Ok((head, file))
}

/// The program that a `#!` line names, read the way Linux does (execve(2)): blanks before it are skipped, and it
/// ends at the next blank or line feed, so that a carriage return belongs to the name.
pub(super) fn script_interpreter(head: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;

    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let name = line[start..].split(|byte| matches!(byte, b' ' | b'\t' | b'\0')).next()?;
    (!name.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_lines_are_read_as_the_kernel_reads_them() {
        for (head, expected) in [
            (&b"#!/bin/sh\necho"[..], Some("/bin/sh")),
            (b"#! /usr/bin/env python3\n", Some("/usr/bin/env")),
            (b"#!\t/opt/x\t-a\n", Some("/opt/x")),
            (b"#!/bin/bash\r\n", Some("/bin/bash\r")),
            (b"#!/no/line/end", Some("/no/line/end")),
            (b"#!", None),
            (b"#!   \n", None),
            (b"echo", None),
            (b"", None),
        ] {
            assert_eq!(script_interpreter(head), expected.map(PathBuf::from), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_reason_survives_its_document() {
        let reasons = [
            Rejection::NotFound,
            Rejection::DanglingLink { target: "/gone".into() },
            Rejection::NotExecutable { mode: "0644".to_owned() },
            Rejection::PermissionDenied { detail: "its mode is 0700".to_owned() },
            Rejection::WrongArchitecture { found: "AARCH64".to_owned(), host: "x86_64".to_owned() },
            Rejection::MissingLoader { loader: "/lib/ld-musl-x86_64.so.1".into() },
            Rejection::MissingScriptInterpreter { target: "/bin/bash\r".into() },
            Rejection::UnknownFormat,
            Rejection::CannotStart { error: "out of memory".to_owned() },
            Rejection::Failed { status: Some(127), signal: None, first_line: Some("no".to_owned()) },
            Rejection::Failed { status: None, signal: Some(11), first_line: None },
            Rejection::TimedOut { limit_ms: 2000 },
            Rejection::Unrecognised { first_line: None },
        ];
        let mut lines = Vec::new();
        for reason in reasons {
            let document = serde_json::to_value(&reason).unwrap();
            assert_eq!(document["kind"], reason.kind());
            lines.push(document["message"].as_str().unwrap().to_owned());
            assert_eq!(serde_json::from_value::<Rejection>(document).unwrap(), reason);
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn seconds_are_written_short() {
        assert_eq!([seconds(2000), seconds(1500), seconds(50), seconds(0)], ["2", "1.5", "0.05", "0"]);
    }
}
