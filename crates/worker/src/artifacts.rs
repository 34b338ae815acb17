//! Artifacts: what an action left in its folder goes into the artifact store, before its outcome is recorded.
//!
//! All of it or nothing: an execution whose files cannot be stored as they were left has failed, and says which file is the
//! reason. The process and whatever it started have ended by then, so that nobody changes a file any more.

mod media_type;
mod scan;

use std::{fs::File, io::Read, path::Path, time::Duration};

use anyhow::{Context, anyhow, ensure};
use attune_common::{
    artifact_store::{ArtifactKey, ArtifactStore, ArtifactStoreError, PIECE_BYTES, Upload},
    config::keys,
    model::{Artifact, ExecutionId},
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use self::scan::{Found, shown};
use crate::{process::EndReason, redact::Redactor, settings::ArtifactLimits};

/// How long removing what must not stay may take. What stays behind is listed nowhere.
const TIDY_LIMIT: Duration = Duration::from_secs(30);

/// Why there are no artifacts.
#[derive(Debug)]
pub enum NotStored {
    /// They cannot be stored as they are.
    Failed(anyhow::Error),
    /// Their execution is to end, or belongs to somebody else.
    Interrupted(EndReason),
}

/// Stores the artifacts of one attempt.
#[derive(Clone, Debug)]
pub struct ArtifactCollector {
    /// Where they go.
    pub store: ArtifactStore,
    /// How many and how large they may be.
    pub limits: ArtifactLimits,
    /// How long they may take once the worker has been told to stop at once.
    pub grace: Duration,
}

impl ArtifactCollector {
    /// Stores every file of the folder, by path. Contents are stored as they are, but no name may show a secret of `redactor`. `end` carries the reason to end the execution early.
    ///
    /// # Errors
    /// [`NotStored`]; then nothing is left in the store.
    pub async fn collect(
        &self,
        execution: ExecutionId,
        attempt: u32,
        folder: &Path,
        redactor: &Redactor,
        mut end: watch::Receiver<Option<EndReason>>,
    ) -> Result<Vec<Artifact>, NotStored> {
        let (folder, limits) = (folder.to_owned(), self.limits);
        let found = tokio::task::spawn_blocking(move || scan::scan(&folder, limits))
            .await
            .context("looking for artifacts was interrupted")
            .flatten()
            .map_err(NotStored::Failed)?;
        if found.iter().any(|file| redactor.text(&file.path) != file.path) {
            let error = anyhow!("the name of a file holds the value of a secret parameter");
            return Err(NotStored::Failed(error));
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut stored = Vec::with_capacity(found.len());
        let mut current = None;
        let result = tokio::select! {
            result = self.store_all(execution, attempt, found, &mut stored, &mut current) => {
                result.map_err(NotStored::Failed)
            }
            interrupted = self.interrupted(&mut end) => Err(interrupted),
        };
        if result.is_err() {
            let abort = async {
                if let Some(upload) = current {
                    let _: Result<(), _> = upload.abort().await;
                }
            };
            let _ = tokio::time::timeout(TIDY_LIMIT, abort).await;
            self.remove(execution, attempt, &stored).await;
        }
        result.map(|()| stored)
    }

    /// Removes artifacts whose outcome was not recorded.
    pub async fn remove(&self, execution: ExecutionId, attempt: u32, artifacts: &[Artifact]) {
        let remove = async {
            for artifact in artifacts {
                let key = ArtifactKey { execution, attempt, path: &artifact.path };
                if let Err(error) = self.store.remove(key).await {
                    tracing::warn!(%execution, attempt, %error, "artifacts stay behind that are listed nowhere");
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(TIDY_LIMIT, remove).await;
    }

    async fn store_all(
        &self,
        execution: ExecutionId,
        attempt: u32,
        found: Vec<Found>,
        stored: &mut Vec<Artifact>,
        current: &mut Option<Upload>,
    ) -> anyhow::Result<()> {
        for file in found {
            let key = ArtifactKey { execution, attempt, path: &file.path };
            let upload = current.insert(self.store.upload(key)?);
            let artifact = self.send(&file, upload).await?;
            // from here on it may be there, whatever the store answers
            stored.push(artifact);
            if let Some(upload) = current.take() {
                upload.finish().await.map_err(|error| cannot_store(&file.path, &error))?;
            }
        }
        Ok(())
    }

    /// Sends every byte of a file, and says what they were.
    async fn send(&self, file: &Found, upload: &mut Upload) -> anyhow::Result<Artifact> {
        let mut reader = Reader { file: file.open()?, hash: Sha256::new(), left: file.size };
        let mut media_type = None;
        let mut size = 0;
        loop {
            let (same, piece) = tokio::task::spawn_blocking(move || reader.piece())
                .await
                .context("reading was interrupted")?
                .with_context(|| format!("cannot read {}", shown(&file.path)))?;
            reader = same;
            size += piece.len() as u64;
            media_type.get_or_insert_with(|| media_type::guess(&file.path, &piece));
            if piece.is_empty() {
                break;
            }
            upload.write(piece).await.map_err(|error| cannot_store(&file.path, &error))?;
        }
        ensure!(size == file.size, "{} changed while it was stored", shown(&file.path));
        let sha256 = hex::encode(reader.hash.finalize());
        Ok(Artifact { path: file.path.clone(), size, sha256, media_type: media_type.unwrap_or_default() })
    }

    /// Waits for a reason not to go on, or for the end of the time.
    async fn interrupted(&self, end: &mut watch::Receiver<Option<EndReason>>) -> NotStored {
        let reason = async {
            let stops = |reason: &Option<EndReason>| {
                // those who cancel an execution want to know why it did not end by itself
                reason.is_some_and(|reason| reason != EndReason::Cancelled)
            };
            match end.wait_for(stops).await.map(|reason| *reason) {
                Ok(Some(reason)) => reason,
                // nobody is left who could ask for it
                _ => std::future::pending().await,
            }
        };
        match tokio::time::timeout(self.limits.time, reason).await {
            Ok(EndReason::WorkerStopped) => {
                tokio::time::sleep(self.grace).await;
                NotStored::Failed(anyhow!("the worker was told to stop at once"))
            }
            Ok(reason) => NotStored::Interrupted(reason),
            Err(_) => NotStored::Failed(anyhow!(
                "it took longer than {:?}, the most that worker.artifact_timeout allows",
                self.limits.time
            )),
        }
    }
}

fn cannot_store(path: &str, error: &ArtifactStoreError) -> anyhow::Error {
    let key = "artifacts.url";
    anyhow!("{}: {error}; {key} ({}) says where they go", shown(path), keys::variable(key))
}

/// Reads and hashes: both keep a thread busy.
struct Reader {
    file: File,
    hash: Sha256,
    /// How much is still to come, by what the file was when it was found.
    left: u64,
}

impl Reader {
    /// The next piece; empty at the end.
    fn piece(mut self) -> std::io::Result<(Self, Vec<u8>)> {
        let mut piece = Vec::with_capacity(self.left.min(PIECE_BYTES as u64) as usize);
        (&mut self.file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        self.hash.update(&piece);
        self.left = self.left.saturating_sub(piece.len() as u64);
        Ok((self, piece))
    }
}

#[cfg(test)]
mod tests;
