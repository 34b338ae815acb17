//! Finds the files that an action left, and opens them without trusting it.
//!
//! The action chose every name and could make anything: links into other people's files, pipes on which a reader waits
//! forever, devices. So a path is never looked up twice: every folder is opened below the one that holds it, a file is
//! opened without following links, and what was opened is looked at once more (openat(2), `O_NOFOLLOW`).

use std::{fs::File, os::fd::OwnedFd, path::Path};

use anyhow::{Context, bail, ensure};
use attune_common::model::artifact::check_path;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use crate::settings::ArtifactLimits;

/// A file that was found.
pub(super) struct Found {
    /// Its path below the folder.
    pub(super) path: String,
    /// Its size in bytes when it was found.
    pub(super) size: u64,
    folder: std::sync::Arc<OwnedFd>,
    identity: (u64, u64),
}

/// Every file in a folder and the folders below it, by path.
///
/// # Errors
/// When one is not an ordinary file with one name, or together they go beyond the limits.
pub(super) fn scan(folder: &Path, limits: ArtifactLimits) -> anyhow::Result<Vec<Found>> {
    let root = openat(CWD, folder, FOLDER, Mode::empty())
        .with_context(|| format!("cannot open the artifacts folder {}", folder.display()))?;
    let mut found = Vec::new();
    walk(root, "", limits, &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    let total = found.iter().fold(0, |total: u64, one| total.saturating_add(one.size));
    if let Some(largest) = found.iter().max_by_key(|one| one.size) {
        ensure!(
            total <= limits.bytes,
            "they have {total} bytes together, and worker.max_artifact_bytes allows {}; the largest is {}",
            limits.bytes,
            shown(&largest.path)
        );
    }
    Ok(found)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `O_NONBLOCK` does nothing to files, and opening a pipe that nobody writes to does not wait.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

fn walk(folder: OwnedFd, above: &str, limits: ArtifactLimits, found: &mut Vec<Found>) -> anyhow::Result<()> {
    let folder = std::sync::Arc::new(folder);
    for entry in Dir::read_from(&*folder).with_context(|| format!("cannot list {}", shown(above)))? {
        let entry = entry.with_context(|| format!("cannot list {}", shown(above)))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(text) = name.to_str() else {
            bail!("{}: its name is not UTF-8", shown(&format!("{above}{}", name.to_string_lossy())));
        };
        let path = format!("{above}{text}");
        check_path(&path).with_context(|| shown(&path))?;
        let stat = statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW).with_context(|| shown(&path))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let below = openat(&*folder, name, FOLDER, Mode::empty()).with_context(|| shown(&path))?;
            walk(below, &format!("{path}/"), limits, found)?;
            continue;
        }
        ordinary(&stat).with_context(|| shown(&path))?;
        ensure!(
            found.len() < limits.count,
            "there are more than {} files, the most that worker.max_artifacts allows",
            limits.count
        );
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        found.push(Found { path, size, folder: folder.clone(), identity: identity(&stat) });
    }
    Ok(())
}

impl Found {
    /// Opens the file that was found, and no other.
    pub(super) fn open(&self) -> anyhow::Result<File> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let file = openat(&*self.folder, name, FILE, Mode::empty()).with_context(|| shown(&self.path))?;
        let stat = fstat(&file).with_context(|| shown(&self.path))?;
        ordinary(&stat).with_context(|| shown(&self.path))?;
        ensure!(identity(&stat) == self.identity, "{} was replaced by another file", shown(&self.path));
        Ok(file.into())
    }
}

/// A path for a message: whoever chose it may have put anything into it.
pub(super) fn shown(path: &str) -> String {
    format!("'{}'", path.escape_debug())
}

#[allow(clippy::unnecessary_cast, reason = "the numbers have other types on other processors")]
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Only what is a file, and nobody else's too.
fn ordinary(stat: &Stat) -> anyhow::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => bail!("it is a symbolic link"),
        FileType::Fifo => bail!("it is a named pipe"),
        FileType::Socket => bail!("it is a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => bail!("it is a device"),
        _ => bail!("it is no file"),
    }
    // a hard link gives a file of others a name here
    ensure!(stat.st_nlink == 1, "it is a hard link: the file has {} names", stat.st_nlink);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_refused() {
        // only root could make one
        let null = rustix::fs::stat("/dev/null").unwrap();
        assert_eq!(ordinary(&null).unwrap_err().to_string(), "it is a device");
    }
}
