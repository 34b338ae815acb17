//! The end of a worker: what runs finishes, goes back to the queue or is cancelled.

use attune_common::doorbell::{Answer, Wake};

use super::{Heartbeat, Listening, StopReason, TURN_INTERVAL, WorkerService};
use crate::{
    health::{Condition, Health, Loop, STUCK_AFTER},
    process::EndReason,
    stop::{Stage, StopSignal},
};

impl WorkerService {
    /// Lets what runs finish, gives it back when that takes too long, cancels it when that is asked for. Leases are renewed
    /// meanwhile. The time limit starts when somebody asks the worker to stop: one that has only done enough has time.
    pub(super) async fn drain(
        &mut self,
        mut reason: StopReason,
        stop: &mut StopSignal,
        listening: &mut Listening,
        heartbeat: &mut Heartbeat,
    ) -> StopReason {
        tracing::info!(%reason, running = self.executions.len(), "draining");
        let store = self.store.clone();
        let saying = store.drain_worker(self.id);
        tokio::pin!(saying);
        let mut told = stop.clone();
        let shutdown_timeout = self.settings.shutdown_timeout;
        let limit = async {
            told.reached(Stage::Drain).await;
            tokio::time::sleep(shutdown_timeout).await;
        };
        tokio::pin!(limit);
        if matches!(reason, StopReason::HeartbeatEnded(_)) {
            self.running.end_all(EndReason::GivenBack);
        }
        listening.accept(false);
        let mut turn = tokio::time::interval(TURN_INTERVAL);
        let (mut said, mut late, mut cancelled) = (false, false, false);
        while !self.executions.is_empty() {
            self.health.turned(Loop::Service, STUCK_AFTER);
            tokio::select! {
                result = &mut saying, if !said => {
                    said = true;
                    if let Err(error) = result {
                        tracing::warn!(%error, "cannot say that the worker drains");
                    }
                }
                Some(ended) = self.executions.join_next() => self.ended(ended),
                () = stop.reached(Stage::Cancel), if !cancelled => {
                    cancelled = true;
                    self.running.end_all(EndReason::WorkerStopped);
                }
                () = &mut limit, if !late => {
                    late = true;
                    self.running.end_all(EndReason::GivenBack);
                }
                Err(error) = &mut *heartbeat, if !matches!(reason, StopReason::HeartbeatEnded(_)) => {
                    reason = StopReason::HeartbeatEnded(error);
                    self.running.end_all(EndReason::GivenBack);
                }
                wake = listening.wake() => match wake {
                    Wake::Offered(offer) => offer.answer(Answer::GivenBack),
                    Wake::LookForWork => {}
                    Wake::LookForCancellations | Wake::Sweep => self.look_for_cancellations().await,
                },
                _ = turn.tick() => {}
            }
        }
        reason
    }
}

/// Says that the worker drains in the moment in which it is told to, whatever the service waits for.
pub(super) async fn tell_draining(health: Health, mut stop: StopSignal) {
    stop.reached(Stage::Drain).await;
    health.unmet(Condition::TakingWork, "draining");
}
