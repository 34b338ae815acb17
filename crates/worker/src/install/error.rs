//! Why the program was not installed.

use std::{io, path::PathBuf};

/// Why the program was not installed. What was there is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The running program cannot be read.
    #[error("cannot read this program from /proc/self/exe: {0}; it copies itself and needs /proc for that")]
    OwnProgram(io::Error),
    /// The directory is not there.
    #[error(
        "there is no directory {0}: mount the volume there, or create it with --create if it belongs to this file system"
    )]
    Missing(PathBuf),
    /// The directory is something else.
    #[error("{0} is not a directory: name the directory that is to hold attune-agent")]
    NotADirectory(PathBuf),
    /// The directory cannot be created.
    #[error("cannot create {directory}: {error}; create it yourself, or choose another one")]
    Create {
        /// The directory.
        directory: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Nothing can be started from that file system.
    #[error(
        "{0} is mounted noexec, so nothing can be started from there ('permission denied'): mount it with exec, or use --force if only this mount of it is noexec"
    )]
    NoExec(PathBuf),
    /// The file system is read-only.
    #[error(
        "{0} is on a read-only file system: mount it writable for the install, and read-only for the workers"
    )]
    ReadOnly(PathBuf),
    /// There is not enough space.
    #[error("no space left in {directory}: {needed} bytes are needed{}; make the volume larger", free.map_or_else(String::new, |free| format!(" and {free} are free")))]
    NoSpace {
        /// The directory.
        directory: PathBuf,
        /// Size of the program.
        needed: u64,
        /// What the file system has for this user; `None` when it is this user's quota that is used up.
        free: Option<u64>,
    },
    /// The user may not write there.
    #[error(
        "permission denied: user {user} may not write to {directory} (owner {owner}:{group}, mode {mode:04o}): change its owner or mode (in Kubernetes fsGroup), or install as {owner}"
    )]
    Denied {
        /// The directory.
        directory: PathBuf,
        /// Who this is.
        user: u32,
        /// The directory's owner.
        owner: u32,
        /// Its group.
        group: u32,
        /// Its mode.
        mode: u32,
    },
    /// What is there is a program of another processor.
    #[error(
        "{path} is for {found}, and this program is for {own}: give every processor a directory of its own, or replace it with --force"
    )]
    Foreign {
        /// The program that is there.
        path: PathBuf,
        /// Its processor.
        found: String,
        /// This program's.
        own: String,
    },
    /// There is a directory in the program's place.
    #[error("{0} is a directory: remove it, or name another directory")]
    ProgramIsDirectory(PathBuf),
    /// What is there cannot be looked at.
    #[error("cannot look at {path}: {error}")]
    Look {
        /// What was looked at.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Anything else.
    #[error("cannot write to {directory}: {error}")]
    Write {
        /// The directory.
        directory: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}
