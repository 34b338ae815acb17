//! The state folder: one process uses it at a time, and says there where its API is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use secrecy::SecretString;

use crate::{
    endpoint::{ENDPOINT_FILE, EndpointFile},
    exit::BadInput,
};

/// Name of the file that is locked while the folder is in use.
const LOCK_FILE: &str = "dev.lock";

/// The state folder, in use by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    /// As it was given.
    pub(crate) shown: PathBuf,
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Creates the folder if needed (for its owner only), and takes it.
    pub(crate) fn take(folder: &Path) -> anyhow::Result<Self> {
        let cannot = |what: &str| BadInput(format!("cannot {what} the state folder {}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| cannot("create"))?;
        let path = fs::canonicalize(folder).with_context(|| cannot("use"))?;
        let lock = take_lock(&path.join(LOCK_FILE), folder).with_context(|| cannot("use"))?;
        Ok(Self { shown: folder.to_owned(), path, _lock: lock })
    }

    /// The place of a file in the folder.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// URL of the database.
    pub(crate) fn database_url(&self) -> anyhow::Result<SecretString> {
        let file = self.join("attune.db");
        let file = file.to_str().ok_or_else(|| {
            BadInput(format!("the state folder {} has a name that is not UTF-8", self.shown.display()))
        })?;
        // what a URL gives a meaning of its own
        let file = file.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        Ok(SecretString::from(format!("sqlite://{file}")))
    }

    /// Says where the API is, until what is returned is dropped.
    pub(crate) fn announce(&self, endpoint: &EndpointFile) -> anyhow::Result<Announcement> {
        let path = self.join(ENDPOINT_FILE);
        let write = || -> anyhow::Result<()> {
            // half a file must never be seen
            let mut file = tempfile::Builder::new().prefix(".endpoint-").tempfile_in(&self.path)?;
            serde_json::to_writer_pretty(&mut file, endpoint)?;
            file.flush()?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Announcement(path))
    }
}

/// Removes the endpoint file when the API is gone.
#[derive(Debug)]
pub(crate) struct Announcement(PathBuf);

impl Drop for Announcement {
    fn drop(&mut self) {
        // what stays behind is an address where nobody answers: the next start replaces it
        let _ = fs::remove_file(&self.0);
    }
}

fn take_lock(path: &Path, folder: &Path) -> anyhow::Result<File> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // the number is only for people
            let _ = file.take(32).read_to_string(&mut owner);
            let owner = owner.trim();
            let owner = if owner.is_empty() { String::new() } else { format!(" (process {owner})") };
            return Err(BadInput(format!(
                "another attune dev uses it{owner}: stop that one, or choose another folder than {} with --state-dir",
                folder.display()
            ))
            .into());
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::exit;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a/state");
        let first = StateDir::take(&place).unwrap();
        let error = StateDir::take(&place).unwrap_err();
        let expected = format!(
            "cannot use the state folder {place}: another attune dev uses it (process {}): stop that one, or choose another folder than {place} with --state-dir",
            std::process::id(),
            place = place.display()
        );
        assert_eq!(exit::message(&error), expected);
        assert_eq!(exit::ExitClass::of(&error), exit::ExitClass::BadInput);
        drop(first);
        StateDir::take(&place).unwrap();
    }

    #[test]
    fn the_endpoint_is_for_its_owner_and_as_long_as_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::take(folder.path()).unwrap();
        let endpoint = EndpointFile { url: "http://127.0.0.1:1/".to_owned(), token: "secret".into() };
        let announcement = state.announce(&endpoint).unwrap();
        let path = folder.path().join(ENDPOINT_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read: EndpointFile = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((read.url.as_str(), read.token.expose_secret()), ("http://127.0.0.1:1/", "secret"));
        // no temporary file stays
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        drop(announcement);
        assert!(!path.exists());
    }

    #[test]
    fn odd_names_of_folders_are_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::take(&folder.path().join("a b?c%20#d")).unwrap();
        let url = state.database_url().unwrap();
        assert!(url.expose_secret().ends_with("/a b%3Fc%2520%23d/attune.db"), "{}", url.expose_secret());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let error = StateDir::take(Path::new("/proc/attune")).unwrap_err();
        assert!(
            exit::message(&error).starts_with("cannot create the state folder /proc/attune: "),
            "{error:#}"
        );
    }
}
