//! What every handler can reach.

use std::{sync::Arc, time::Duration};

use attune_common::{
    artifact_store::ArtifactStore,
    doorbell::{self, Doorbell, Ring},
    model::{Execution, ExecutionStatus},
    store::{Store, StoreError},
};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::{token::TokenDigest, views::ExecutionView};

/// Longest time between two looks for expired leases.
const MAX_REAP_INTERVAL: Duration = Duration::from_secs(5);

/// What every handler can reach. Clones share it.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) doorbell: Arc<dyn Doorbell>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) token: TokenDigest,
    pub(crate) lease: Duration,
    /// Ends what would otherwise go on as long as its client listens.
    pub(crate) stopping: CancellationToken,
}

impl ApiState {
    /// A state over a store, a doorbell, and the store of artifacts.
    ///
    /// `token` is what clients must present, `lease` the lease that workers use: it decides how often to look for expired ones.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        doorbell: Arc<dyn Doorbell>,
        artifacts: ArtifactStore,
        token: &SecretString,
        lease: Duration,
    ) -> Self {
        let token = TokenDigest::new(token);
        Self { store, doorbell, artifacts, token, lease, stopping: CancellationToken::new() }
    }

    /// How often to look for expired leases: about three times a lease, and at least every five seconds or so.
    pub(crate) fn reap_interval(&self) -> Duration {
        (self.lease / 3).clamp(Duration::from_millis(1), MAX_REAP_INTERVAL)
    }

    /// Rings the doorbell.
    pub(crate) async fn ring(&self, ring: &Ring) {
        doorbell::ring(&*self.doorbell, ring).await;
    }

    /// Everything that may be shown of an execution.
    pub(crate) async fn view(&self, execution: &Execution) -> Result<ExecutionView, StoreError> {
        let workers = match execution.status {
            ExecutionStatus::Queued => self.store.workers().await?,
            _ => Vec::new(),
        };
        let earlier_attempts = match execution.attempt {
            0 => Vec::new(),
            _ => self.store.earlier_attempts(execution.id).await?,
        };
        Ok(ExecutionView::from_model(execution, earlier_attempts, &workers))
    }
}
