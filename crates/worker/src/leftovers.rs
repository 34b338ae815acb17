//! What workers that were killed together with their supervisors have left behind.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use crate::{
    removal,
    supervisor::Orphans,
    workspace::{ARTIFACTS_VARIABLE, FOLDER},
};

/// Removes the folders of attempts whose worker was killed, and ends what still runs in them. Returns how many there were.
///
/// # Errors
/// When the folder of all attempts cannot be read.
pub(crate) fn remove(cache_dir: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(cache_dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for root in entries.flatten().map(|entry| entry.path()) {
        // one without a lock is being made, or was left by a worker that was killed in that moment: rare, and empty
        let Ok(lock) = File::open(root.join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            let mark = format!("{ARTIFACTS_VARIABLE}={}", root.join("artifacts").display());
            Orphans { session: None, mark: Some(&mark), is_supervisor: &|_| true }.end();
            removal::remove(&root)?;
            removed += 1;
        }
    }
    Ok(removed)
}
