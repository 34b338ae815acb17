//! Whole folders: copied, made read-only, measured, removed.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink},
    path::Path,
};

use walkdir::WalkDir;

use crate::removal;

/// Copies a folder's content into an existing folder, so that the copy can be written to.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    replicate(from, to, |file, copy| {
        fs::copy(file, copy)?;
        let mode = fs::metadata(copy)?.mode() | 0o600;
        fs::set_permissions(copy, fs::Permissions::from_mode(mode))
    })
}

/// Shows a folder's files in an existing folder a second time: hard links where the disk allows them, else copies.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    replicate(from, to, |file, copy| fs::hard_link(file, copy).or_else(|_| fs::copy(file, copy).map(drop)))
}

fn replicate(
    from: &Path,
    to: &Path,
    replicate_file: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    for entry in WalkDir::new(from).min_depth(1) {
        let entry = entry?;
        let place = to.join(entry.path().strip_prefix(from).map_err(io::Error::other)?);
        if entry.file_type().is_dir() {
            fs::create_dir(&place)?;
        } else if entry.file_type().is_symlink() {
            symlink(fs::read_link(entry.path())?, &place)?;
        } else {
            replicate_file(entry.path(), &place)?;
        }
    }
    Ok(())
}

/// Gives a folder and everything in it to a user and a group.
pub fn give(folder: &Path, uid: u32, gid: u32) -> io::Result<()> {
    for entry in WalkDir::new(folder) {
        lchown(entry?.path(), Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Makes everything in a folder read-only and readable by all: 0444, 0555 where executable and for folders. What lies in
/// `writable` stays as it is.
pub(super) fn seal(folder: &Path, writable: Option<&Path>) -> io::Result<()> {
    // a folder after its content: in one that is read-only already, its owner could still seal, but not everybody can
    let walk = WalkDir::new(folder).contents_first(true);
    for entry in walk {
        let entry = entry?;
        if entry.file_type().is_symlink() || writable.is_some_and(|open| entry.path().starts_with(open)) {
            continue;
        }
        let executable = entry.file_type().is_dir() || entry.metadata()?.mode() & 0o111 != 0;
        let mode = if executable { 0o555 } else { 0o444 };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// What a folder takes on the disk, in bytes. What vanishes meanwhile does not count.
pub(super) fn size(folder: &Path) -> u64 {
    let sizes =
        WalkDir::new(folder).into_iter().filter_map(|entry| Some(entry.ok()?.metadata().ok()?.blocks()));
    // stat(2): blocks are of 512 bytes, whatever the disk's are
    sizes.sum::<u64>() * 512
}

/// Removes whatever is at a path, read-only folders included. Nothing there is what is wanted.
pub fn remove(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_dir() { removal::remove(path) } else { fs::remove_file(path) }
}
