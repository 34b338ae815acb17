//! The worker service: takes executions while slots are free, and stops without losing any.
//!
//! `listening` hears the doorbell, `claiming` takes what waits, `limits` decides when a worker has done enough, and `draining`
//! is its end.

mod claiming;
mod draining;
mod limits;
mod listening;

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use attune_common::{
    artifact_store::ArtifactStore,
    doorbell::Doorbell,
    model::{WorkerId, WorkerKind},
    reaper,
    store::Store,
    timer,
};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::task::AbortOnDropHandle;

use self::{
    limits::{Progress, StopReason},
    listening::Listening,
};
use crate::{
    executor::Executor,
    health::{Condition, Health, Loop, Reservation, STUCK_AFTER, metrics::Operation},
    leftovers,
    offered::{Current, Offered},
    process, registration,
    running::Running,
    runtime_detect::Detection,
    settings::WorkerSettings,
    stop::{Stage, StopSignal},
};

/// How often the loop turns when nothing happens: a fraction of the time after which it counts as stuck.
const TURN_INTERVAL: Duration = Duration::from_secs(5);

/// How long a free slot waits for an offer when more may wait than is offered: rings may have been lost, and a look at the store
/// for every execution is worth more than one for every sweep.
const SILENCE: Duration = Duration::from_millis(50);

/// A worker that has not started yet.
pub struct WorkerService {
    id: WorkerId,
    store: Arc<dyn Store>,
    doorbell: Arc<dyn Doorbell>,
    settings: WorkerSettings,
    offered: Offered,
    /// Of what is offered; those that were not seen yet.
    changes: watch::Receiver<Current>,
    executor: Executor,
    health: Health,
    progress: Progress,
    running: Running,
    executions: JoinSet<()>,
    /// The last look ended for want of a free slot: the store may have more than what is offered.
    more_may_wait: bool,
    /// When to look, if nothing is offered before.
    look_at: Option<Instant>,
}

/// The task that keeps the worker and its leases alive. Aborted when it is dropped.
type Heartbeat = AbortOnDropHandle<Infallible>;

impl WorkerService {
    /// A worker on a store, woken by a doorbell, that keeps artifacts in a store of their own, with these interpreters, which tells its health.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        doorbell: Arc<dyn Doorbell>,
        artifacts: ArtifactStore,
        settings: WorkerSettings,
        detection: Detection,
        health: Health,
    ) -> Self {
        let id = WorkerId::new();
        let offered = Offered::new(detection, &settings);
        let metrics = health.metrics().clone();
        metrics.describe(settings.kind, settings.slots);
        let executor = Executor::new(
            store.clone(),
            doorbell.clone(),
            artifacts,
            id,
            offered.clone(),
            settings.execution.clone(),
            metrics,
        );
        Self {
            id,
            store,
            doorbell,
            progress: Progress::new(settings.limits),
            settings,
            changes: offered.changes(),
            offered,
            executor,
            health,
            running: Running::default(),
            executions: JoinSet::new(),
            more_may_wait: false,
            look_at: None,
        }
    }

    /// Registers and takes executions until it is told to stop or has done enough; then finishes, gives back or cancels
    /// what runs.
    ///
    /// # Errors
    /// When the worker cannot register, when none of its interpreters runs scripts (of `attune-worker`, when one does not), or when
    /// its heartbeat ends, which should never happen.
    /// Failures of the store or the doorbell in between are waited out.
    pub async fn run(mut self, mut stop: StopSignal) -> anyhow::Result<()> {
        process::prepare_control_groups();
        let cache_dir = self.settings.execution.cache_dir.clone();
        leftovers::clear(cache_dir.clone()).await;
        // aborted when this function returns, however it does
        let _cleared = AbortOnDropHandle::new(tokio::spawn(leftovers::clear_regularly(
            cache_dir,
            self.settings.heartbeat_interval,
        )));
        let _tidy = AbortOnDropHandle::new(tokio::spawn(self.executor.tidy()));
        if self.settings.kind == WorkerKind::Worker {
            self.executor.verify_ahead(&stop).await?;
            self.executor.prepare_ahead(&stop).await;
            if stop.stage() != Stage::Run {
                return Ok(());
            }
        }
        self.settings.execution.supervisors.keep_one_waiting();
        registration::register(&self.store, self.id, &self.settings, &self.offered)
            .await
            .context("cannot register the worker")?;
        tracing::info!(worker = %self.id, name = self.settings.name, slots = self.settings.slots, "registered");
        self.health.met(Condition::Registered);
        self.health.met(Condition::TakingWork);
        let _told =
            AbortOnDropHandle::new(tokio::spawn(draining::tell_draining(self.health.clone(), stop.clone())));
        let mut heartbeat = AbortOnDropHandle::new(tokio::spawn(registration::heartbeat(
            self.store.clone(),
            self.id,
            self.settings.clone(),
            self.offered.clone(),
            self.changes.clone(),
            self.running.clone(),
            self.health.clone(),
        )));
        let _expiring = AbortOnDropHandle::new(tokio::spawn(self.running.clone().end_what_expires()));
        let _reaping = AbortOnDropHandle::new(tokio::spawn(reaper::run(
            self.store.clone(),
            self.doorbell.clone(),
            self.settings.heartbeat_interval,
        )));
        let mut listening =
            Listening::new(self.doorbell.clone(), self.settings.heartbeat_interval, self.health.clone());

        self.progress.restart_idleness();
        let reason = self.take_work(&mut stop, &mut listening, &mut heartbeat).await;
        self.health.unmet(Condition::TakingWork, "draining");
        let reason = self.drain(reason, &mut stop, &mut listening, &mut heartbeat).await;
        // before the farewell: a heartbeat that comes after it would register the worker again
        drop(heartbeat);
        // all that it had to do is done, or given up: whoever started it need not do it again
        if let Err(error) = self.store.deregister_worker(self.id).await {
            tracing::warn!(%error, "cannot deregister the worker: it will be listed as lost");
        }
        tracing::info!(
            worker = %self.id,
            executions = self.progress.claimed(),
            given_back = self.health.metrics().given_back_so_far(),
            %reason,
            "stopped"
        );
        match reason {
            StopReason::HeartbeatEnded(error) => Err(error).context("the worker's heartbeat ended"),
            StopReason::NothingToOffer => Err(anyhow!(
                "none of the interpreters here runs scripts: the log says why; repair them, or use another image"
            )),
            // whoever counts on so many executions has not got them
            StopReason::Executions(_) if !self.offered.withdrawn().is_empty() => Err(anyhow!(
                "an interpreter here does not run scripts, and what was taken for it went back: the log says why"
            )),
            _ => Ok(()),
        }
    }

    /// Takes executions, and returns why it takes no more.
    async fn take_work(
        &mut self,
        stop: &mut StopSignal,
        listening: &mut Listening,
        heartbeat: &mut Heartbeat,
    ) -> StopReason {
        let mut turn = tokio::time::interval(TURN_INTERVAL);
        // a timer needs a time, also where settings were made by hand
        let mut refresh =
            tokio::time::interval(self.settings.heartbeat_interval.max(Duration::from_millis(1)));
        // as long as nothing is heard it does not tick, and what was missed need not be made up for
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cordon = self.running.cordon();
        loop {
            self.health.turned(Loop::Service, STUCK_AFTER);
            if stop.stage() != Stage::Run {
                return StopReason::Told;
            }
            if let Some(reason) = self.progress.enough(self.executions.is_empty()) {
                return reason;
            }
            let look_at = self.look_at;
            let idle_for_long = self.progress.idle_for_long(self.executions.is_empty());
            tokio::select! {
                () = stop.reached(Stage::Drain) => {}
                Err(error) = &mut *heartbeat => return StopReason::HeartbeatEnded(error),
                Some(ended) = self.executions.join_next() => {
                    self.ended(ended);
                    if listening.offers() {
                        listening.accept(self.may_claim(stop));
                        self.look_at = self.more_may_wait.then(|| Instant::now() + SILENCE);
                    } else {
                        self.claim_while_slots_are_free(stop, listening).await;
                    }
                }
                wake = listening.wake() => self.answer(wake, stop, listening).await,
                Ok(()) = cordon.changed() => {
                    listening.accept(self.may_claim(stop));
                    self.claim_while_slots_are_free(stop, listening).await;
                }
                Ok(()) = self.changes.changed() => {
                    self.health.set_reservation(Reservation::Runtimes, Some(self.offered.reservation()));
                    if self.changes.borrow_and_update().detection.runtimes.is_empty() {
                        return StopReason::NothingToOffer;
                    }
                    if listening.offers() {
                        listening.forget();
                    } else {
                        self.claim_while_slots_are_free(stop, listening).await;
                    }
                }
                () = timer::at(look_at) => self.claim_while_slots_are_free(stop, listening).await,
                // a ring may have been lost: only what was looked for and is not there is idleness
                () = idle_for_long => self.claim_while_slots_are_free(stop, listening).await,
                _ = refresh.tick(), if listening.offers() => {
                    if let Some(requirements) = self.satisfied_requirements().await {
                        listening.follow(&requirements);
                        listening.accept(self.may_claim(stop));
                    }
                }
                _ = turn.tick() => {}
            }
        }
    }

    async fn look_for_cancellations(&self) {
        let before = self.running.attempts();
        if before.is_empty() {
            return;
        }
        match self.store.held(self.id).await {
            Ok(held) => self.running.follow(&before, &held),
            Err(error) => {
                self.health.metrics().store_failed(Operation::Look);
                tracing::warn!(%error, "cannot look for cancellations");
            }
        }
    }

    fn ended(&mut self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            // nothing renews its lease any more, so that it goes back to the queue
            tracing::error!(%error, "the worker failed while it recorded an execution");
        }
        self.health.metrics().running(self.executions.len());
        self.progress.restart_idleness();
    }
}
