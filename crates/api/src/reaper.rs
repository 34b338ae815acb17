//! Takes executions away from workers that have gone silent.

use attune_common::{doorbell::Ring, model::ExecutionStatus};
use tokio::time::{Interval, MissedTickBehavior};

use crate::state::ApiState;

/// Looks for expired leases until the state's token is cancelled.
pub(crate) async fn run(state: ApiState) {
    let mut ticks: Interval = tokio::time::interval(state.reap_interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while state.stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        reap(&state).await;
    }
}

async fn reap(state: &ApiState) {
    let reaped = match state.store.reap().await {
        Ok(reaped) => reaped,
        Err(error) => {
            tracing::error!(%error, "cannot look for expired leases; trying again");
            return;
        }
    };
    for one in reaped {
        tracing::warn!(execution = %one.execution, status = %one.status, "the lease expired: its worker is silent");
        if one.status == ExecutionStatus::Queued {
            state.ring(&Ring::Queued { execution: one.execution, requirement: one.requirement }).await;
        }
    }
}
