//! What workers that were killed together with their supervisors have left behind.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    process::remove_abandoned_control_groups,
    removal,
    supervisor::Orphans,
    workspace::{ARTIFACTS_VARIABLE, FOLDER},
};

/// Clears away at this interval. Never returns.
///
/// A worker that was killed need not come back; another one that shares its cache takes its place in this.
pub(crate) async fn clear_regularly(cache_dir: PathBuf, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        clear(cache_dir.clone()).await;
    }
}

/// Clears away what is there. Failures are told in the log: they are no reason not to work.
pub(crate) async fn clear(cache_dir: PathBuf) {
    let removed = tokio::task::spawn_blocking(move || {
        let groups = remove_abandoned_control_groups();
        if groups > 0 {
            tracing::info!(groups, "removed the control groups of a worker that was killed");
        }
        remove(&cache_dir)
    });
    let removed = removed.await;
    match removed.map_err(io::Error::from).flatten() {
        Ok(0) => {}
        Ok(folders) => tracing::info!(folders, "removed what a worker that was killed had left behind"),
        Err(error) => tracing::warn!(%error, "cannot remove what a worker that was killed had left behind"),
    }
}

/// Removes the folders of attempts whose worker was killed, and ends what still runs in them. Returns how many there were.
///
/// # Errors
/// When the folder of all attempts cannot be read, or a folder in it cannot be removed; the others are, then.
fn remove(cache_dir: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(cache_dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let (mut removed, mut failure) = (0, None);
    for root in entries.flatten().map(|entry| entry.path()) {
        // one without a lock is being made, or was left by a worker that was killed in that moment: rare, and empty
        let Ok(lock) = File::open(root.join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            let mark = format!("{ARTIFACTS_VARIABLE}={}", root.join("artifacts").display());
            // processes are where the kernel says, whatever links led there
            let Ok(folder) = fs::canonicalize(&root) else { continue };
            Orphans { session: None, mark: Some(&mark), folder: Some(&folder), is_supervisor: &|_| true }
                .end();
            match removal::remove(&root) {
                Ok(()) => removed += 1,
                Err(error) => failure = Some(error),
            }
        }
    }
    failure.map_or(Ok(removed), Err)
}
