//! Rings again for executions whose rings were lost: by a crash between commit and publishing, by a broker that was away, or with
//! the queue in which they were kept.
//!
//! Workers with a free slot find such executions by looking. But only rings make the length of their queue true, by which an
//! autoscaler sees that workers are needed. Which of the executions of a requirement has lost its ring cannot be told, only how many
//! have: there are as many rings too few. A ring for one that has another is dropped by the worker that gets it, and then there is
//! again one too few.
//!
//! A broker that is busy, or is electing the leader of a queue, may answer that nothing is in it (`rabbit_quorum_queue:stat`). So rings
//! have to be missing twice in a row, and when the first that is rung again does not appear in the next count, the count is not
//! believed, or a worker was quicker. Every instance of the API does it; of two that do it at once, the rings of one are too many.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use attune_common::{
    doorbell::{Doorbell, DoorbellError, KeptRings, Ring},
    model::ExecutionId,
    requirement::Requirement,
    stagger::stagger,
    store::Store,
};

/// Executions of one requirement that should have their rings. When they are taken, it is the turn of the next.
const AT_ONCE: u32 = 100;

/// Looks for lost rings for ever, once in every interval or sooner. Where rings are not kept, none can be missing.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    doorbell: Arc<dyn Doorbell>,
    interval: Duration,
) -> Infallible {
    let Some(kept) = doorbell.kept_rings() else { return std::future::pending().await };
    let mut looks = Looks { store: &*store, doorbell: &*doorbell, kept, missed: HashSet::new() };
    loop {
        // drawn, so that instances that started together do not look together
        tokio::time::sleep(stagger(interval)).await;
        looks.look(interval).await;
    }
}

struct Looks<'a> {
    store: &'a dyn Store,
    doorbell: &'a dyn Doorbell,
    kept: &'a dyn KeptRings,
    /// Requirements of which rings were missing at the last look.
    missed: HashSet<Requirement>,
}

impl Looks<'_> {
    /// Looks at what has been queued for longer than `patience`.
    async fn look(&mut self, patience: Duration) {
        let waiting = match self.store.oldest_waiting(patience, AT_ONCE).await {
            Ok(waiting) => waiting,
            Err(error) => {
                return tracing::error!(%error, "cannot look for what nobody was told of; trying again");
            }
        };
        let missed = std::mem::take(&mut self.missed);
        for (requirement, executions) in waiting {
            let kept = match self.kept.count(&requirement).await {
                Ok(kept) => kept as usize,
                // whoever rings says so, too
                Err(error) => return tracing::debug!(%error, "cannot look for lost rings; trying again"),
            };
            if kept >= executions.len() {
                continue;
            }
            if !missed.contains(&requirement) {
                self.missed.insert(requirement);
                continue;
            }
            match self.ring_again(&requirement, &executions).await {
                Ok(rung) => tracing::info!(%requirement, kept, rung, "rang again for what has been waiting"),
                Err(error) => return tracing::warn!(%requirement, %error, "cannot ring again; trying again"),
            }
        }
    }

    /// Rings for as many executions as rings are missing, and returns for how many.
    async fn ring_again(
        &self,
        requirement: &Requirement,
        executions: &[ExecutionId],
    ) -> Result<usize, DoorbellError> {
        let Some((first, others)) = executions.split_first() else { return Ok(0) };
        self.ring(requirement, *first).await?;
        let kept = self.kept.count(requirement).await? as usize;
        if kept == 0 {
            return Ok(1);
        }
        let missing = executions.len().saturating_sub(kept).min(others.len());
        for execution in &others[..missing] {
            self.ring(requirement, *execution).await?;
        }
        Ok(1 + missing)
    }

    async fn ring(&self, requirement: &Requirement, execution: ExecutionId) -> Result<(), DoorbellError> {
        self.doorbell.ring(&Ring::Queued { execution, requirement: requirement.clone() }).await
    }
}
