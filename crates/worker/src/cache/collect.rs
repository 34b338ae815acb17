//! Removing what was not used for long, and what a crash left behind.

use std::{
    collections::BTreeSet,
    fs, io,
    time::{Duration, SystemTime},
};

use super::{Cache, key_of, lock::FileLock, tree};

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Entries that were removed.
    pub removed: usize,
    /// Entries that stay.
    pub kept: usize,
    /// What those that stay take on the disk, in bytes.
    pub bytes: u64,
}

struct Entry {
    key: String,
    used: SystemTime,
    bytes: u64,
}

impl Cache {
    /// Removes entries that were not used for `max_age`, then the least recently used ones until the others take at most
    /// `max_bytes`. One that is used or filled at this moment stays, whatever its age.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn collect(&self, max_age: Duration, max_bytes: u64) -> io::Result<Collected> {
        let mut collected = Collected::default();
        let mut unused = Vec::new();
        let keys: BTreeSet<String> = self.names()?.iter().map(|name| key_of(name).to_owned()).collect();
        for key in keys {
            let bytes = self.content(&key).map_or(0, |folder| tree::size(&folder));
            let Some(exclusive) = FileLock::exclusive(&self.lock_file(&key))? else {
                collected.kept += 1;
                collected.bytes += bytes;
                continue;
            };
            let used = exclusive.touched()?;
            // a clock that was set back makes nothing old
            let age = SystemTime::now().duration_since(used).unwrap_or_default();
            let content = self.content(&key);
            self.remove_leftovers(&key, content.as_deref());
            if content.is_none() {
                self.remove_locked(&key)?;
            } else if age > max_age {
                self.remove_locked(&key)?;
                collected.removed += 1;
            } else {
                collected.kept += 1;
                collected.bytes += bytes;
                unused.push(Entry { key, used, bytes });
            }
        }
        unused.sort_by_key(|entry| entry.used);
        for entry in unused {
            if collected.bytes <= max_bytes {
                break;
            }
            // somebody may use it by now
            if FileLock::exclusive(&self.lock_file(&entry.key))?.is_some_and(|lock| {
                let removed = self.remove_locked(&entry.key);
                drop(lock);
                removed.is_ok()
            }) {
                collected.removed += 1;
                collected.kept -= 1;
                collected.bytes -= entry.bytes;
            }
        }
        Ok(collected)
    }

    /// Removes everything of an entry. The caller holds the exclusive lock, whose file goes last.
    fn remove_locked(&self, key: &str) -> io::Result<()> {
        // first, so that nobody sees half a folder
        tree::remove(&self.folder.join(key))?;
        self.remove_leftovers(key, None);
        fs::remove_file(self.lock_file(key))
    }
}
