//! Puts the agent into a directory from which other containers start it: `attune-agent install DIR`.
//!
//! The program copies itself, so that an image with nothing else in it, no shell and no `cp`, can be its own init
//! container. Whoever looks at the place sees no program, the one from before, or the whole new one: the copy is written
//! under a temporary name, brought to the disk, and renamed. Any number of them may do that to one directory at the same
//! time, and an agent that is running from there goes on with the file it was started from.
//!
//! It does not create the directory unless it is told to: in an init container, one that is missing means that the volume
//! is mounted elsewhere, and the copy would be gone with the container. It does not replace a program of another
//! processor unless it is told to, because somebody on another node of a shared volume is using that one.

mod architecture;
mod error;
mod place;

use std::{
    fmt,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use architecture::Architecture;
pub use error::InstallError;
use place::Place;
use rustix::io::Errno;
use tempfile::{Builder, TempPath};

/// Name of the program in the directory.
pub const PROGRAM: &str = "attune-agent";

/// Mode of the program: everybody may start it, nobody may write to it.
const MODE: u32 = 0o555;

/// Beginning of the temporary names.
const TEMPORARY: &str = ".attune-agent-";

/// What may be done that is refused otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permitted {
    /// Create the directory and its parents.
    pub create: bool,
    /// Replace the program of another processor, and use a file system on which it cannot be started from here.
    pub force: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The program.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What was there.
    pub before: Before,
    architecture: Option<Architecture>,
}

/// What was in the program's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// The same program, which was left alone.
    Same,
    /// Something else, which was replaced.
    Other,
    /// The program of this other processor, which was replaced.
    Foreign(String),
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.before {
            Before::Nothing => "installed",
            Before::Same => "already there:",
            Before::Other => "replaced",
            Before::Foreign(_) => "replaced, as --force says,",
        };
        write!(f, "{what} {} (version {}", self.path.display(), env!("CARGO_PKG_VERSION"))?;
        if let Some(architecture) = &self.architecture {
            write!(f, ", {architecture}")?;
        }
        write!(f, ", {} bytes", self.size)?;
        if let Before::Foreign(architecture) = &self.before {
            write!(f, "; it was for {architecture}")?;
        }
        f.write_str(")")
    }
}

/// The program that is running. Its file, not its path: that may lead to something else by now.
///
/// # Errors
/// When it cannot be read; a process that made itself unreadable (`PR_SET_DUMPABLE`) is one of the reasons.
pub fn this_program() -> Result<File, InstallError> {
    File::open("/proc/self/exe").map_err(InstallError::OwnProgram)
}

/// Copies a program into a directory as [`PROGRAM`].
///
/// # Errors
/// When the directory is missing or will not do, or what is there must not be replaced.
pub fn install(source: &mut File, directory: &Path, permitted: Permitted) -> Result<Installed, InstallError> {
    let size = source.metadata().map_err(InstallError::OwnProgram)?.len();
    let place = Place::open(directory, permitted.create)?;
    let path = directory.join(PROGRAM);
    let architecture = Architecture::of(source).map_err(InstallError::OwnProgram)?;
    let installed =
        |before| Installed { path: path.clone(), size, before, architecture: architecture.clone() };

    if place.is_noexec()? && !permitted.force {
        return Err(InstallError::NoExec(directory.to_owned()));
    }
    let before = look(source, &path, architecture.as_ref())?;
    match &before {
        // also where nothing could be written: a second start on a read-only volume is fine
        Before::Same => return Ok(installed(Before::Same)),
        Before::Foreign(found) if !permitted.force => {
            return Err(InstallError::Foreign {
                path,
                found: found.clone(),
                own: architecture.map(|own| own.to_string()).unwrap_or_default(),
            });
        }
        Before::Nothing | Before::Other | Before::Foreign(_) => {}
    }
    let refused = |error| place.refused(error, size);
    let copy = copy(source, size, directory).map_err(refused)?;
    copy.persist(&path).map_err(|error| refused(error.error))?;
    place.sync().map_err(refused)?;
    Ok(installed(before))
}

/// What is in the program's place.
fn look(source: &mut File, path: &Path, own: Option<&Architecture>) -> Result<Before, InstallError> {
    // a link is replaced itself, never what it leads to
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let mut present = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Before::Nothing),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => return Ok(Before::Other),
        // it cannot be looked at: whether it can be replaced will show
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Before::Other),
        Err(error) => return Err(InstallError::Look { path: path.to_owned(), error }),
    };
    let look = |error| InstallError::Look { path: path.to_owned(), error };
    let metadata = present.metadata().map_err(look)?;
    if metadata.is_dir() {
        return Err(InstallError::ProgramIsDirectory(path.to_owned()));
    }
    if !metadata.is_file() {
        return Ok(Before::Other);
    }
    let found = Architecture::of(&present).map_err(look)?;
    if let (Some(own), Some(found)) = (own, found)
        && *own != found
    {
        return Ok(Before::Foreign(found.to_string()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    let same = mode == MODE && same_content(source, &mut present).map_err(look)?;
    Ok(if same { Before::Same } else { Before::Other })
}

/// Whether two files hold the same bytes.
fn same_content(one: &mut File, other: &mut File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    one.rewind()?;
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut right[..read]) {
            Ok(()) if left[..read] == right[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Writes the copy beside its place. When that fails, nothing of it stays.
fn copy(source: &mut File, size: u64, directory: &Path) -> io::Result<TempPath> {
    let mut copy = Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    remove_leftovers(directory, copy.as_file());
    source.rewind()?;
    let copied = io::copy(source, copy.as_file_mut())?;
    if copied != size {
        return Err(io::Error::other(format!("{copied} of {size} bytes were copied")));
    }
    copy.as_file().set_permissions(Permissions::from_mode(MODE))?;
    copy.as_file().sync_all()?;
    // closed before it gets its name: a program that somebody may write to cannot be started (ETXTBSY)
    Ok(copy.into_temp_path())
}

/// Removes what installers left behind that were killed, as far as that is possible.
fn remove_leftovers(directory: &Path, new: &File) {
    /// Nobody needs that long for a copy of a few megabytes.
    const OLD: std::time::Duration = std::time::Duration::from_mins(10);
    // the file system's own clock, which on a network is another machine's
    let Ok(now) = new.metadata().and_then(|metadata| metadata.modified()) else { return };
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if ours && modified.is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age > OLD)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
