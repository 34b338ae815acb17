//! Interpreters that are written on the spot.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use attune_worker::runtime_detect::{Detection, Options, detect};

/// What one does that was left by an interrupted upgrade.
pub const BROKEN: &str =
    "echo \"Fatal Python error: init_fs_encoding: failed to get the Python codec\" >&2\nexit 1\n";

/// A program of a shell.
#[must_use]
pub fn program(folder: &Path, name: &str, script: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    file
}

/// A program that tells the version of a Python, and does this when it is to run a script.
#[must_use]
pub fn python(folder: &Path, script: &str) -> PathBuf {
    program(folder, "python3", &format!("[ \"$1\" = -V ] && exec echo Python 3.12.1\n{script}"))
}

/// A shell, and a Python at this path.
pub async fn shell_and_python(python: &Path) -> Detection {
    let both = [("shell", Path::new("/bin/sh")), ("python", python)];
    let runtimes: BTreeMap<String, PathBuf> =
        both.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
    detect(&Options::configured(&runtimes, "the test")).await.expect("both tell their versions")
}
