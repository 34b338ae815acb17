//! Folders that are whole or not there, shared by everything that sees the same disk.
//!
//! An entry of a cache is a lock file `KEY.lock`, a folder `KEY.RANDOM` with the content, and a link `KEY` that names the
//! folder. A folder is filled while nothing names it, and the link is renamed into place: one step, so that a crash at any
//! moment leaves nothing or everything. The folder itself never moves, because what is installed writes its own path into
//! its files (the scripts of a Python environment name their interpreter). And everybody who fills an entry has a folder of
//! their own: an installer that outlives its worker goes on writing where nobody looks.
//!
//! The lock is shared while an entry is used, exclusive while it is filled or removed (flock(2): it ends with its holder,
//! however that ends, and holds between containers on one volume).

mod collect;
mod lock;
mod tree;

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

pub use collect::Collected;
use lock::FileLock;
pub use tree::{copy, give, link, remove};

/// How often somebody who waits for an entry looks again. Waiting in flock(2) itself could not be cancelled.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A folder with entries.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// An entry, or the task to fill it.
#[derive(Debug)]
pub enum Taken {
    /// It is there.
    Whole(Lease),
    /// It is not there, and nobody else fills it now.
    Vacant(Vacancy),
}

/// An entry that is used: it stays until this is dropped.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    _shared: FileLock,
}

/// An entry that is being filled. Dropped without [`Vacancy::publish`], it leaves nothing.
#[derive(Debug)]
pub struct Vacancy {
    link: PathBuf,
    folder: PathBuf,
    published: bool,
    _exclusive: FileLock,
}

impl Lease {
    /// Where the content is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Cache {
    /// The cache in a folder, which is created when it is first needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder of all entries.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes an entry, or the task to fill it; waits while somebody else fills it, and says so once by `waiting`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn take(&self, key: &str, mut waiting: impl FnMut()) -> io::Result<Taken> {
        let mut told = false;
        loop {
            if let Some(taken) = self.try_take(key).await? {
                return Ok(taken);
            }
            if !told {
                told = true;
                waiting();
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes an entry, or the task to fill it, unless somebody else fills it now.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn try_take(&self, key: &str) -> io::Result<Option<Taken>> {
        let (cache, key) = (self.clone(), key.to_owned());
        // removing what a crash left behind blocks
        tokio::task::spawn_blocking(move || cache.attempt(&key)).await?
    }

    fn attempt(&self, key: &str) -> io::Result<Option<Taken>> {
        if self.content(key).is_some() {
            let Some(shared) = FileLock::shared(&self.lock_file(key))? else { return Ok(None) };
            // it may have been removed before the lock was there
            return Ok(self.content(key).map(|path| {
                shared.touch();
                Taken::Whole(Lease { path, _shared: shared })
            }));
        }
        fs::create_dir_all(&self.folder)?;
        let Some(exclusive) = FileLock::exclusive(&self.lock_file(key))? else { return Ok(None) };
        if self.content(key).is_some() {
            return Ok(None);
        }
        self.remove_leftovers(key, None);
        let folder = tempfile::Builder::new().prefix(&format!("{key}.")).tempdir_in(&self.folder)?.keep();
        let vacancy =
            Vacancy { link: self.folder.join(key), folder, published: false, _exclusive: exclusive };
        // actions may run as others: what they share is readable by all
        fs::set_permissions(&vacancy.folder, fs::Permissions::from_mode(0o755))?;
        Ok(Some(Taken::Vacant(vacancy)))
    }

    fn lock_file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.lock"))
    }

    /// The folder that the link of an entry names.
    fn content(&self, key: &str) -> Option<PathBuf> {
        let target = fs::read_link(self.folder.join(key)).ok()?;
        let folder = self.folder.join(target);
        folder.is_dir().then_some(folder)
    }

    /// Removes what crashes left of an entry, but not its content. The caller holds the exclusive lock.
    ///
    /// Installers that outlived their worker may still be writing there, so that it may take more than one try.
    fn remove_leftovers(&self, key: &str, content: Option<&Path>) {
        let kept =
            [Some(self.lock_file(key)), content.map(Path::to_owned), content.map(|_| self.folder.join(key))];
        let names = self.names().unwrap_or_default();
        for path in names.iter().filter(|name| key_of(name) == key).map(|name| self.folder.join(name)) {
            if !kept.contains(&Some(path.clone()))
                && let Err(error) = remove(&path)
            {
                tracing::debug!(path = %path.display(), %error, "cannot remove what a crash left behind");
            }
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }
}

fn key_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

impl Vacancy {
    /// The folder to fill.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the content read-only and the entry visible. `writable` names a folder of it that stays as it is.
    ///
    /// # Errors
    /// When that fails; the entry is then still vacant.
    pub fn publish(mut self, writable: Option<&Path>) -> io::Result<()> {
        tree::seal(&self.folder, writable)?;
        // on the disk before the link is, in case the machine itself goes down
        rustix::fs::syncfs(fs::File::open(&self.folder)?)?;
        let mut beside = self.folder.clone().into_os_string();
        beside.push(".link");
        symlink(self.folder.file_name().unwrap_or_default(), &beside)?;
        fs::rename(&beside, &self.link)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Vacancy {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove(&self.folder)
        {
            // the next one who fills the entry, or the collector, tries again
            tracing::warn!(folder = %self.folder.display(), %error, "cannot remove what was not finished");
        }
    }
}

#[cfg(test)]
mod tests;
