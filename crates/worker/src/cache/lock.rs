//! Locks on files, taken without waiting.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::SystemTime,
};

/// A lock on a file (flock(2)); it ends when this is dropped, and with the process.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl FileLock {
    /// The lock that many may hold; `None` while somebody holds the exclusive one.
    pub(super) fn shared(path: &Path) -> io::Result<Option<Self>> {
        take(path, File::try_lock_shared)
    }

    /// The lock that only one may hold; `None` while somebody holds any.
    pub(super) fn exclusive(path: &Path) -> io::Result<Option<Self>> {
        take(path, File::try_lock)
    }

    /// Records that what it guards is used now: as the file's time of modification.
    pub(super) fn touch(&self) {
        // a lock file of another user cannot be touched; at worst what it guards is built once more
        let _ = self.0.set_modified(SystemTime::now());
    }

    /// When it was touched last.
    pub(super) fn touched(&self) -> io::Result<SystemTime> {
        self.0.metadata()?.modified()
    }
}

fn take(path: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<FileLock>> {
    loop {
        let file = open(path)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // whoever removes an entry removes its lock file last: others may have made the next one meanwhile
        if is_at(&file, path)? {
            return Ok(Some(FileLock(file)));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
        // of another user: reading is enough for a lock
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((opened.dev(), opened.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
