//! Takes executions away from workers that have gone silent, and rings for what goes back to the queue.
//!
//! Every instance of the API does it, and every worker: whoever is left does it for the others. Any number may do it at once, since
//! the store tells each execution to one of them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use crate::{
    doorbell::{self, Doorbell, Ring},
    model::ExecutionStatus,
    store::Store,
};

/// Looks for expired leases for ever, about once in every interval.
pub async fn run(store: Arc<dyn Store>, doorbell: Arc<dyn Doorbell>, interval: Duration) -> Infallible {
    loop {
        // drawn, so that a fleet that started together does not come to the store together
        tokio::time::sleep(interval.mul_f64(0.5 + fastrand::f64())).await;
        reap(&*store, &*doorbell).await;
    }
}

async fn reap(store: &dyn Store, doorbell: &dyn Doorbell) {
    let reaped = match store.reap().await {
        Ok(reaped) => reaped,
        Err(error) => {
            tracing::error!(%error, "cannot look for expired leases; trying again");
            return;
        }
    };
    for one in reaped {
        tracing::warn!(execution = %one.execution, status = %one.status, "the lease expired: its worker is silent");
        if one.status == ExecutionStatus::Queued {
            let ring = Ring::Queued { execution: one.execution, requirement: one.requirement };
            doorbell::ring(doorbell, &ring).await;
        }
    }
}
