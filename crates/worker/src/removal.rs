//! Removing folders that somebody else filled.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Removes a folder with everything in it, also what an action has locked up.
pub(crate) fn remove(root: &Path) -> io::Result<()> {
    if fs::remove_dir_all(root).is_ok() {
        return Ok(());
    }
    // a folder without write permission keeps what is in it; its owner may change that
    for entry in walkdir::WalkDir::new(root).follow_links(false).into_iter().flatten() {
        if entry.file_type().is_dir() {
            let _ = fs::set_permissions(entry.path(), Permissions::from_mode(0o700));
        }
    }
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
