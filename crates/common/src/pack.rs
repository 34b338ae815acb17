//! Packs as files: manifests and archives.
//!
//! An archive is a tar file compressed with zstd, and its SHA-256 is its name everywhere. The same folder always gives the
//! same archive: entries are sorted and carry no times and no owners. [`manifest`] and [`recipe`] give the files their meaning.

pub mod archive;
pub mod manifest;
pub mod recipe;
mod unpack;

use std::path::{Path, PathBuf};

pub use archive::{Archive, MAX_ARCHIVE_BYTES};
pub use unpack::unpack;

use crate::model::Action;

/// A pack whose manifests have been read.
#[derive(Clone, Debug)]
pub struct LoadedPack {
    /// Name.
    pub r#ref: String,
    /// Version.
    pub version: String,
    /// One line for people.
    pub label: String,
    /// A longer text for people.
    pub description: String,
    /// SHA-256 of the archive.
    pub digest: String,
    /// Its actions, by name.
    pub actions: Vec<Action>,
    /// What is odd but does no harm, such as unknown keys.
    pub warnings: Vec<String>,
}

/// Why a pack is refused.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file or folder cannot be read or written.
    #[error("cannot {what} {path}: {reason}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        reason: std::io::Error,
    },
    /// A manifest is not right.
    #[error("{file}: {message}")]
    Manifest {
        /// The manifest, relative to the pack.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The archive holds something that is not let in.
    #[error("archive entry {entry:?} is refused: {reason}")]
    Entry {
        /// The entry.
        entry: String,
        /// Why.
        reason: String,
    },
    /// The archive is not one, or is cut off.
    #[error("the archive cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The archive is larger than anybody should need.
    #[error("the archive {0}")]
    TooLarge(String),
    /// The archive is not the one that was asked for.
    #[error("the archive's digest is {actual}, not {expected}: it was damaged on the way or in the store")]
    Digest {
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
}

impl PackError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |reason| Self::Io { what, path: path.to_owned(), reason }
    }

    fn manifest(file: &str, message: impl Into<String>) -> Self {
        Self::Manifest { file: file.to_owned(), message: message.into() }
    }
}

/// Packs a folder, checking its manifests on the way.
pub fn read_folder(folder: &Path) -> Result<(Archive, LoadedPack), PackError> {
    let archive = archive::build(folder)?;
    let loaded = read_archive(&archive.bytes)?;
    Ok((archive, loaded))
}

/// Reads the manifests of an archive without writing anything anywhere.
pub fn read_archive(bytes: &[u8]) -> Result<LoadedPack, PackError> {
    let files = archive::read_manifests(bytes)?;
    manifest::load(&files, archive::digest(bytes))
}
