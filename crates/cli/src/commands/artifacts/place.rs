//! Where downloaded files go: written beside their place and renamed into it, and never outside of the folder.

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::NamedTempFile;

use crate::{exit::BadInput, output::Output};

/// Where files go.
pub(super) enum Place {
    /// One file.
    StandardOutput,
    /// One file, under this name.
    File { path: PathBuf, force: bool },
    /// Files, under their paths, or one under its name.
    Folder { path: PathBuf, one: bool, force: bool },
}

/// Where one file goes.
pub(super) enum Target {
    /// To standard output.
    StandardOutput,
    /// Into a file that exists already if it may be replaced.
    File { path: PathBuf, beside: NamedTempFile, force: bool },
}

impl Place {
    /// The place of that name; `one` when it is for a single file.
    pub(super) fn new(to: PathBuf, one: bool, force: bool) -> anyhow::Result<Self> {
        if to.as_os_str() == "-" {
            if one {
                return Ok(Self::StandardOutput);
            }
            return Err(BadInput("--to - takes one file: say which by its path".to_owned()).into());
        }
        let ends_as_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        if one && !ends_as_folder && !to.is_dir() {
            return Ok(Self::File { path: to, force });
        }
        if to.exists() && !to.is_dir() {
            return Err(BadInput(format!("{} is no folder", to.display())).into());
        }
        Ok(Self::Folder { path: to, one, force })
    }

    /// The place of an artifact, whose path has been checked.
    pub(super) fn target(&self, artifact: &str) -> anyhow::Result<Target> {
        match self {
            Self::StandardOutput => Ok(Target::StandardOutput),
            Self::File { path, force } => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Target::file(path.clone(), folder.unwrap_or(Path::new(".")), *force)
            }
            Self::Folder { path, one, force } => {
                let name = if *one { artifact.rsplit('/').next().unwrap_or(artifact) } else { artifact };
                let file = path.join(name);
                let folder = file.parent().unwrap_or(path);
                create(path)?;
                let within = real(path)?;
                // a link that lies there may lead elsewhere
                let existing = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
                if !real(existing)?.starts_with(&within) {
                    let message = format!("{} lies outside of {}", file.display(), path.display());
                    return Err(BadInput(message).into());
                }
                create(folder)?;
                Target::file(file.clone(), folder, *force)
            }
        }
    }
}

fn create(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| BadInput(format!("cannot create the folder {}", folder.display())))
}

fn real(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(folder).with_context(|| BadInput(format!("cannot use the folder {}", folder.display())))
}

impl Target {
    fn file(path: PathBuf, folder: &Path, force: bool) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Err(BadInput(format!("{} is a folder", path.display())).into());
        }
        if !force && path.symlink_metadata().is_ok() {
            return Err(exists(&path).into());
        }
        if !folder.is_dir() {
            return Err(BadInput(format!("there is no folder {}", folder.display())).into());
        }
        let beside = tempfile::Builder::new()
            .prefix(".attune-")
            // as any other file: what the umask leaves of it
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .with_context(|| BadInput(format!("cannot write to {}", folder.display())))?;
        Ok(Self::File { path, beside, force })
    }

    /// Whether the bytes are shown rather than kept.
    pub(super) fn is_standard_output(&self) -> bool {
        matches!(self, Self::StandardOutput)
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8], output: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::StandardOutput => Ok(output.bytes(bytes)?),
            Self::File { path, beside, .. } => {
                beside.write_all(bytes).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }

    /// Puts the file into its place, and says where that is.
    pub(super) fn finish(self) -> anyhow::Result<Option<String>> {
        let Self::File { path, beside, force } = self else { return Ok(None) };
        let shown = path.display().to_string();
        let moved = if force { beside.persist(&path) } else { beside.persist_noclobber(&path) };
        match moved {
            Ok(_) => Ok(Some(shown)),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(exists(&path).into())
            }
            Err(error) => Err(error.error).with_context(|| format!("cannot write {shown}")),
        }
    }
}

fn exists(path: &Path) -> BadInput {
    BadInput(format!(
        "{} is there already; --force writes over it, --to chooses another place",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn put(to: &Path, one: bool, force: bool, artifact: &str, content: &[u8]) -> Result<String, String> {
        let mut output = Output::process(Format::Text);
        let mut put = || -> anyhow::Result<_> {
            let mut target = Place::new(to.to_owned(), one, force)?.target(artifact)?;
            target.write(content, &mut output)?;
            target.finish()
        };
        let done = put().map_err(|error| crate::exit::message(&error));
        done.map(|file| file.unwrap_or_else(|| "shown".to_owned()))
    }

    #[test]
    fn files_go_where_they_were_asked_to_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::create_dir(place("there")).unwrap();
        fs::write(place("file"), "old").unwrap();
        std::os::unix::fs::symlink("/", place("there/root")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/x", place("there/dangling")).unwrap();
        let mut lines = Vec::new();
        for (to, one, force, artifact) in [
            ("new", true, false, "a/b.txt"),
            ("new/", true, false, "a/b.txt"),
            ("there", true, false, "a/b.txt"),
            ("there", false, false, "a/b.txt"),
            ("there", false, false, "a/b.txt"),
            ("there", false, true, "a/b.txt"),
            ("folder", false, false, "a/b.txt"),
            ("folder/a", true, false, "a"),
            ("folder", false, true, "a"),
            ("file", false, false, "a"),
            ("file", true, false, "a"),
            ("there", false, true, "root/attune-was-here/a"),
            ("there", false, false, "dangling"),
            ("there", false, true, "dangling"),
            ("missing/file", true, false, "a"),
        ] {
            let told = put(&place(to), one, force, artifact, b"content");
            let told = told.map_or_else(|error| format!("refused: {error}"), |file| format!("to {file}"));
            let told = told.replace(folder.path().to_str().unwrap(), "DIR");
            lines.push(format!("{to} one={one} force={force} {artifact}: {told}"));
        }
        insta::assert_snapshot!(lines.join("\n"));
        assert_eq!(fs::read(place("there/a/b.txt")).unwrap(), b"content");
        assert_eq!(fs::read(place("file")).unwrap(), b"old");
        let leftover = walkdir::WalkDir::new(folder.path()).into_iter().map(|entry| entry.unwrap());
        assert!(leftover.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with(".attune-")));
    }

    #[test]
    fn nothing_stays_of_what_is_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::process(Format::Text);
        let mut target = Place::new(folder.path().to_owned(), false, false).unwrap().target("a").unwrap();
        target.write(b"half", &mut output).unwrap();
        drop(target);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(
            Place::new("-".into(), false, false).err().unwrap().to_string(),
            "--to - takes one file: say which by its path"
        );
    }
}
