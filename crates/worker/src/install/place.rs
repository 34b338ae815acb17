//! The directory, and what its file system says.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, StatVfsMountFlags, fstatvfs},
    io::Errno,
};

use super::InstallError;

/// The directory that gets the program, open.
pub(super) struct Place {
    path: PathBuf,
    directory: File,
}

impl Place {
    /// Opens it, and creates it if that is permitted.
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, InstallError> {
        if create {
            DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                        InstallError::NotADirectory(path.to_owned())
                    }
                    _ => InstallError::Create { directory: path.to_owned(), error },
                }
            })?;
        }
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let opened =
            std::os::unix::fs::OpenOptionsExt::custom_flags(File::options().read(true), flags).open(path);
        match opened {
            Ok(directory) => Ok(Self { path: path.to_owned(), directory }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound => InstallError::Missing(path.to_owned()),
                io::ErrorKind::NotADirectory => InstallError::NotADirectory(path.to_owned()),
                _ => InstallError::Look { path: path.to_owned(), error },
            }),
        }
    }

    /// Whether nothing can be started from it.
    pub(super) fn is_noexec(&self) -> Result<bool, InstallError> {
        let statistics = fstatvfs(&self.directory)
            .map_err(|error| InstallError::Look { path: self.path.clone(), error: error.into() })?;
        Ok(statistics.f_flag.contains(StatVfsMountFlags::NOEXEC))
    }

    /// Brings the names in it to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self.directory.sync_all() {
            // some network and FUSE file systems keep no directories of their own to sync
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOTSUP)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// Why something could not be written into it.
    pub(super) fn refused(&self, error: io::Error, needed: u64) -> InstallError {
        let directory = self.path.clone();
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => InstallError::ReadOnly(directory),
            io::ErrorKind::StorageFull => InstallError::NoSpace {
                directory,
                needed,
                free: fstatvfs(&self.directory).ok().map(|free| free.f_bavail * free.f_frsize),
            },
            io::ErrorKind::QuotaExceeded => InstallError::NoSpace { directory, needed, free: None },
            io::ErrorKind::PermissionDenied => match self.directory.metadata() {
                Ok(metadata) => InstallError::Denied {
                    directory,
                    user: rustix::process::geteuid().as_raw(),
                    owner: metadata.uid(),
                    group: metadata.gid(),
                    mode: metadata.mode() & 0o7777,
                },
                Err(_) => InstallError::Write { directory, error },
            },
            _ => InstallError::Write { directory, error },
        }
    }
}
