//! The worker's cache of unpacked packs, by digest.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use attune_common::{pack, store::Store};
use tokio::sync::Mutex;

/// Unpacked packs in one folder, which several workers may share.
///
/// A pack is unpacked beside its place and renamed into it, so that what is there is always whole.
#[derive(Debug)]
pub struct PackCache {
    folder: PathBuf,
    // one at a time: two executions of a new pack should not both unpack it
    unpacking: Mutex<()>,
}

impl PackCache {
    /// A cache in a folder, which is created when it is first needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, unpacking: Mutex::new(()) }
    }

    /// The folder of a pack's files, fetched from the store and unpacked if it is not there.
    ///
    /// # Errors
    /// When the store has no such archive, it is damaged or refused, or the folder cannot be written.
    pub async fn materialise(&self, store: &Arc<dyn Store>, digest: &str) -> anyhow::Result<PathBuf> {
        let place = self.folder.join(digest);
        if place.is_dir() {
            return Ok(place);
        }
        let _turn = self.unpacking.lock().await;
        if place.is_dir() {
            return Ok(place);
        }
        let archive = store
            .pack_archive(digest)
            .await?
            .ok_or_else(|| anyhow!("the store has no pack archive with digest {digest}"))?;
        let (folder, digest, target) = (self.folder.clone(), digest.to_owned(), place.clone());
        tokio::task::spawn_blocking(move || unpack_into_place(&archive, &digest, &folder, &target))
            .await
            .context("unpacking was interrupted")??;
        Ok(place)
    }
}

fn unpack_into_place(archive: &[u8], digest: &str, folder: &Path, place: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| {
        format!(
            "cannot create the pack cache {}: choose another folder with worker.cache_dir",
            folder.display()
        )
    })?;
    let beside = tempfile::Builder::new()
        .prefix("unpacking-")
        .tempdir_in(folder)
        .with_context(|| format!("cannot write to the pack cache {}", folder.display()))?;
    pack::unpack(archive, digest, beside.path())?;
    // actions may run as others: what they share is readable by all
    fs::set_permissions(beside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    match fs::rename(beside.path(), place) {
        Ok(()) => {
            // its place has changed: there is nothing left to remove
            let _ = beside.keep();
            Ok(())
        }
        // another worker on the same folder was faster; both unpacked the same digest
        Err(error)
            if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) =>
        {
            Ok(())
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot move the unpacked pack to {}", place.display()))
        }
    }
}
