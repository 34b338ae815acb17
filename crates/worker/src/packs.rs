//! The worker's cache of unpacked packs, by digest.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, anyhow};
use attune_common::{pack, store::Store};

use crate::cache::{Cache, Lease, Taken, Vacancy};

/// Unpacked packs in one folder, which several workers may share. Their files are read-only.
#[derive(Clone, Debug)]
pub struct PackCache(Cache);

impl PackCache {
    /// A cache in a folder, which is created when it is first needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(Cache::new(folder))
    }

    /// A pack's files, fetched from the store and unpacked if they are not there.
    ///
    /// # Errors
    /// When the store has no such archive, it is damaged or refused, or the folder cannot be written.
    pub async fn materialise(&self, store: &Arc<dyn Store>, digest: &str) -> anyhow::Result<Lease> {
        loop {
            let taken = self.0.take(digest, || {}).await.with_context(|| {
                let folder = self.0.folder().display();
                format!(
                    "cannot write to the pack cache {folder}: choose another folder with worker.cache_dir"
                )
            })?;
            let vacancy = match taken {
                Taken::Whole(lease) => return Ok(lease),
                Taken::Vacant(vacancy) => vacancy,
            };
            let archive = store
                .pack_archive(digest)
                .await?
                .ok_or_else(|| anyhow!("the store has no pack archive with digest {digest}"))?;
            let digest = digest.to_owned();
            tokio::task::spawn_blocking(move || unpack(&archive, &digest, vacancy))
                .await
                .context("unpacking was interrupted")??;
        }
    }

    /// The cache itself, to be kept tidy.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.0
    }
}

fn unpack(archive: &[u8], digest: &str, vacancy: Vacancy) -> anyhow::Result<()> {
    pack::unpack(archive, digest, vacancy.folder())?;
    vacancy.publish(None).context("cannot finish the unpacked pack")
}
