//! Rings again for executions whose rings were lost: by a crash between commit and publishing, by a broker that was away, or with
//! the queue in which they were kept.
//!
//! Workers with a free slot find such executions by looking. But only rings make the length of their queue true, by which an
//! autoscaler sees that workers are needed. Which of the executions of a requirement has lost its ring cannot be told, only how many
//! have: there are as many rings too few. A ring for one that has another is dropped by the worker that gets it, and then there is
//! again one too few. Every instance of the API does it; of two that do it at once, the rings of one are too many.

use std::{convert::Infallible, sync::Arc, time::Duration};

use attune_common::{
    doorbell::{self, Doorbell, KeptRings, Ring},
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
    loop {
        // drawn, so that instances that started together do not look together
        tokio::time::sleep(stagger(interval)).await;
        ring_again(&*store, &*doorbell, kept, interval).await;
    }
}

/// Rings for executions that have been queued for longer than `patience`, as many as rings are missing.
async fn ring_again(store: &dyn Store, doorbell: &dyn Doorbell, kept: &dyn KeptRings, patience: Duration) {
    let waiting = match store.oldest_waiting(patience, AT_ONCE).await {
        Ok(waiting) => waiting,
        Err(error) => return tracing::error!(%error, "cannot look for what nobody was told of; trying again"),
    };
    for (requirement, executions) in waiting {
        let kept = match kept.count(&requirement).await {
            Ok(kept) => kept as usize,
            // whoever rings says so, too
            Err(error) => return tracing::debug!(%error, "cannot look for lost rings; trying again"),
        };
        let missing = executions.len().saturating_sub(kept);
        if missing == 0 {
            continue;
        }
        tracing::info!(%requirement, kept, missing, "ringing again for what has been waiting");
        for execution in executions.into_iter().take(missing) {
            doorbell::ring(doorbell, &Ring::Queued { execution, requirement: requirement.clone() }).await;
        }
    }
}
