//! What every handler can reach.

use std::{sync::Arc, time::Duration};

use attune_common::{
    artifact_store::ArtifactStore,
    doorbell::{Doorbell, Ring},
    model::Worker,
    store::{Store, StoreError},
};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::token::TokenDigest;

/// Longest time between two looks for expired leases.
const MAX_REAP_INTERVAL: Duration = Duration::from_secs(5);

/// What every handler can reach. Clones share it.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) doorbell: Arc<dyn Doorbell>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) token: TokenDigest,
    pub(crate) worker_silence: Duration,
    /// Ends what would otherwise go on as long as its client listens.
    pub(crate) stopping: CancellationToken,
}

impl ApiState {
    /// A state over a store, a doorbell, and the store of artifacts.
    ///
    /// `token` is what clients must present. A worker that was not heard of for `worker_silence` counts as lost; it is
    /// the lease that workers use.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        doorbell: Arc<dyn Doorbell>,
        artifacts: ArtifactStore,
        token: &SecretString,
        worker_silence: Duration,
    ) -> Self {
        let token = TokenDigest::new(token);
        Self { store, doorbell, artifacts, token, worker_silence, stopping: CancellationToken::new() }
    }

    /// How often to look for expired leases: three times a lease, and at least every five seconds.
    pub(crate) fn reap_interval(&self) -> Duration {
        (self.worker_silence / 3).clamp(Duration::from_millis(1), MAX_REAP_INTERVAL)
    }

    /// Every registered worker.
    pub(crate) async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        self.store.workers(self.worker_silence).await
    }

    /// Rings the doorbell. A bell that is broken only costs time, since workers also look by themselves.
    pub(crate) async fn ring(&self, ring: &Ring) {
        if let Err(error) = self.doorbell.ring(ring).await {
            tracing::warn!(%error, "cannot ring the doorbell; workers will find the work at their next look");
        }
    }
}
