//! Telling the store what came of an execution, until it has answered or the lease is gone.

use std::time::Duration;

use attune_common::{
    doorbell::{self, Ring},
    model::{Execution, ExecutionStatus, Outcome},
    store::{Fence, NewLogChunk, StoreError},
};
use tokio::sync::watch;

use super::Executor;
use crate::{health::metrics::Operation, process::EndReason};

/// First and longest pause before something is told to a store once more that did not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Executor {
    /// Records the outcome; tries again until the store has answered, or the lease is gone: then what the action left is removed.
    pub(super) async fn finish(
        &self,
        fence: Fence,
        status: ExecutionStatus,
        outcome: Outcome,
        log: Vec<NewLogChunk>,
        end: &watch::Sender<Option<EndReason>>,
    ) {
        let finish = || self.store.finish(fence, status, outcome.clone(), log.clone());
        let lost = format!("outcome dropped ({status})");
        if !self.insist(fence, end, Operation::Finish, finish, "cannot record the outcome", &lost).await {
            return self.artifacts.remove(fence.execution, fence.attempt, &outcome.artifacts).await;
        }
        self.metrics.finished(status);
        self.metrics.log_stored(bytes(&log));
        self.metrics.log_dropped(outcome.log_bytes_dropped);
        tracing::info!(execution = %fence.execution, %status, error = outcome.error, "finished");
    }

    /// Gives an execution back: an attempt that only ran out of its lease would count.
    pub(super) async fn give_back(
        &self,
        fence: Fence,
        execution: &Execution,
        outcome: Outcome,
        log: Vec<NewLogChunk>,
        end: &watch::Sender<Option<EndReason>>,
    ) {
        // what it has printed so far is no answer
        let outcome = Outcome { result: None, ..outcome };
        let release = || self.store.release(fence, outcome.clone(), log.clone());
        if !self.insist(fence, end, Operation::Release, release, "cannot give back", "not given back").await {
            return;
        }
        self.metrics.given_back();
        self.metrics.log_stored(bytes(&log));
        tracing::info!(execution = %fence.execution, "given back to the queue");
        let ring = Ring::Queued { execution: execution.id, requirement: execution.requirement.clone() };
        doorbell::ring(&*self.doorbell, &ring).await;
    }

    /// Tells the store something about a lease; tries again until it has answered, or the lease is gone. Returns whether it is told.
    /// `cannot` and `lost` say in the log what fails, and what came of it.
    async fn insist<Answer: Future<Output = attune_common::store::Result<()>>>(
        &self,
        fence: Fence,
        end: &watch::Sender<Option<EndReason>>,
        operation: Operation,
        tell: impl Fn() -> Answer,
        cannot: &str,
        lost: &str,
    ) -> bool {
        let mut pause = FIRST_PAUSE;
        let why = loop {
            match tell().await {
                Ok(()) => return true,
                Err(StoreError::Fenced) => break "the lease is lost",
                Err(error) => {
                    self.metrics.store_failed(operation);
                    tracing::warn!(execution = %fence.execution, %error, "{cannot}, trying again");
                }
            }
            if *end.borrow() == Some(EndReason::LeaseLost) {
                break "the store did not answer while the lease lasted";
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        self.metrics.lease_lost();
        tracing::warn!(execution = %fence.execution, "{lost}: {why}");
        false
    }
}

fn bytes(log: &[NewLogChunk]) -> u64 {
    log.iter().map(|chunk| chunk.data.len() as u64).sum()
}
