//! Unpacking an archive into a folder of its own.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::{
    PackError,
    archive::{self, Entry},
};

/// Unpacks an archive into an existing empty folder, after checking that it is the one of this digest.
///
/// Files become read-only (0444, or 0555 where executable): what is unpacked is shared by executions.
///
/// # Errors
/// When the archive is not the expected one or holds what [`archive`] refuses. The folder is then half filled, and
/// the caller throws it away.
pub fn unpack(bytes: &[u8], expected: &str, folder: &Path) -> Result<(), PackError> {
    let actual = archive::digest(bytes);
    if actual != expected {
        return Err(PackError::Digest { expected: expected.to_owned(), actual });
    }
    archive::walk(bytes, |path, entry| {
        let place = folder.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(PackError::io("create", parent))?;
        }
        match entry {
            Entry::Folder => fs::create_dir_all(&place).map_err(PackError::io("create", &place)),
            Entry::Link { target } => {
                symlink(target, &place).map_err(PackError::io("create the link", &place))
            }
            Entry::File { executable, content } => {
                let mut file = File::create_new(&place).map_err(PackError::io("create", &place))?;
                io::copy(content, &mut file).map_err(PackError::io("write", &place))?;
                let mode = if executable { 0o555 } else { 0o444 };
                file.set_permissions(Permissions::from_mode(mode)).map_err(PackError::io("write", &place))
            }
        }
    })
}
