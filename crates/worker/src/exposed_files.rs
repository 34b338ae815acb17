//! Files with secrets of the worker that actions could read.
//!
//! The worker's memory, environment and descriptors are closed to actions of its own user, but no file of that user is.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::confinement::RunAs;

/// Those of the files that the user could read whom actions run as; without one it is the worker's own user. Pipes, which are
/// empty once they are read, are none. Access control lists (`acl(5)`) are not looked at.
fn exposed(files: &[PathBuf], run_as: Option<RunAs>) -> Vec<&Path> {
    let exposed = |path: &&PathBuf| match run_as {
        None => fs::metadata(path).is_ok_and(|file| file.is_file()),
        Some(user) => is_reachable(path, user),
    };
    files.iter().filter(exposed).map(PathBuf::as_path).collect()
}

/// Whether a user may read a file and go through the folders above it (`path_resolution(7)`).
fn is_reachable(path: &Path, user: RunAs) -> bool {
    const READ: u32 = 0o4;
    const SEARCH: u32 = 0o1;
    let Ok(path) = fs::canonicalize(path) else { return false };
    let mut above = path.ancestors();
    let file = above.next().and_then(|file| fs::metadata(file).ok());
    file.is_some_and(|file| file.is_file() && may(&file, user, READ))
        && above.all(|folder| fs::metadata(folder).is_ok_and(|folder| may(&folder, user, SEARCH)))
}

fn may(place: &fs::Metadata, user: RunAs, access: u32) -> bool {
    // the first class that fits decides; root needs none
    let shift = if place.uid() == user.uid {
        6
    } else if place.gid() == user.gid {
        3
    } else {
        0
    };
    user.uid == 0 || place.mode() >> shift & access != 0
}

/// Says in the log which files these are.
pub fn warn(files: &[PathBuf], run_as: Option<RunAs>) {
    for file in exposed(files, run_as) {
        let file = file.display();
        if run_as.is_some() {
            tracing::warn!(%file, "actions can read this file, which holds a secret of this worker: let only the worker's user read it");
        } else {
            tracing::warn!(
                %file,
                "actions can read this file, which holds a secret of this worker, because they run as its user: start the worker as root, with worker.run_as for the actions, and let only root read the file"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn modes_of_the_file_and_of_the_folders_above_decide() {
        let (stranger, group) = (RunAs { uid: 64_990, gid: 64_990 }, |gid| RunAs { uid: 64_990, gid });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "x").unwrap();
        let own = fs::metadata(&file).unwrap();
        let owner = RunAs { uid: own.uid(), gid: own.gid() };
        for (above, mode, user, expected) in [
            (0o755, 0o600, stranger, false),
            (0o755, 0o444, stranger, true),
            (0o700, 0o444, stranger, false),
            (0o711, 0o444, stranger, true),
            (0o755, 0o640, stranger, false),
            (0o755, 0o640, group(own.gid()), true),
            (0o750, 0o640, group(own.gid()), true),
            (0o755, 0o404, group(own.gid()), false),
            (0o700, 0o400, owner, true),
        ] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(above)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let found = exposed(std::slice::from_ref(&file), Some(user));
            assert_eq!(!found.is_empty(), expected, "{above:o}/{mode:o} for {user:?}");
        }
        assert_eq!(exposed(std::slice::from_ref(&file), None), [&file]);
        let others = ["/dev/null".into(), folder.path().join("gone")];
        assert!(exposed(&others, None).is_empty() && exposed(&others, Some(stranger)).is_empty());
    }
}
