//! The worker service: takes executions while slots are free, and stops without losing any.

use std::sync::Arc;

use anyhow::Context;
use attune_common::{
    doorbell::{Doorbell, Listener, Wake},
    model::{Capabilities, WorkerId},
    requirement::Requirement,
    store::Store,
};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    executor::Executor,
    leftovers,
    process::EndReason,
    registration,
    running::Running,
    runtime_detect::Detection,
    settings::WorkerSettings,
    stop::{Stage, StopSignal},
};

/// A worker that has not started yet.
pub struct WorkerService {
    id: WorkerId,
    store: Arc<dyn Store>,
    doorbell: Arc<dyn Doorbell>,
    settings: WorkerSettings,
    capabilities: Capabilities,
    executor: Executor,
    running: Running,
    executions: JoinSet<()>,
}

impl WorkerService {
    /// A worker on a store, woken by a doorbell, with these interpreters.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        doorbell: Arc<dyn Doorbell>,
        settings: WorkerSettings,
        detection: Detection,
    ) -> Self {
        let id = WorkerId::new();
        let capabilities = registration::capabilities(&detection, &settings);
        let executor = Executor::new(store.clone(), id, detection, settings.execution.clone());
        Self {
            id,
            store,
            doorbell,
            settings,
            capabilities,
            executor,
            running: Running::default(),
            executions: JoinSet::new(),
        }
    }

    /// Registers and takes executions until it is told to stop; then finishes, gives back or cancels what runs.
    ///
    /// # Errors
    /// When the worker cannot register or listen. Later failures of the store or the doorbell are waited out.
    pub async fn run(mut self, mut stop: StopSignal) -> anyhow::Result<()> {
        let cache_dir = self.settings.execution.cache_dir.clone();
        match tokio::task::spawn_blocking(move || leftovers::remove(&cache_dir)).await? {
            Ok(0) => {}
            Ok(folders) => tracing::info!(folders, "removed what a worker that was killed had left behind"),
            Err(error) => {
                tracing::warn!(%error, "cannot remove what a worker that was killed had left behind");
            }
        }
        registration::register(&self.store, self.id, &self.settings, &self.capabilities)
            .await
            .context("cannot register the worker")?;
        tracing::info!(worker = %self.id, name = self.settings.name, slots = self.settings.slots, "registered");
        // aborted when this function returns, however it does
        let _heartbeat = AbortOnDropHandle::new(tokio::spawn(registration::heartbeat(
            self.store.clone(),
            self.id,
            self.settings.clone(),
            self.capabilities.clone(),
            self.running.clone(),
        )));
        let mut listener = self.doorbell.listen().await.context("cannot listen for work")?;
        self.claim_while_slots_are_free().await;
        while stop.stage() == Stage::Run {
            tokio::select! {
                () = stop.reached(Stage::Drain) => {}
                Some(_) = self.executions.join_next() => self.claim_while_slots_are_free().await,
                wake = listener.wake() => match wake {
                    Ok(wake) => self.answer(wake).await,
                    Err(error) => {
                        tracing::warn!(%error, "lost the doorbell, listening again");
                        tokio::time::sleep(self.settings.heartbeat_interval).await;
                        if let Ok(again) = self.doorbell.listen().await {
                            listener = again;
                        }
                    }
                },
            }
        }
        self.drain(&mut stop, listener).await;
        self.store.deregister_worker(self.id).await.context("cannot deregister the worker")?;
        tracing::info!(worker = %self.id, "stopped");
        Ok(())
    }

    async fn answer(&mut self, wake: Wake) {
        if wake != Wake::LookForWork {
            self.look_for_cancellations().await;
        }
        if wake != Wake::LookForCancellations {
            self.claim_while_slots_are_free().await;
        }
    }

    async fn look_for_cancellations(&self) {
        let before = self.running.attempts();
        if before.is_empty() {
            return;
        }
        match self.store.held(self.id).await {
            Ok(held) => self.running.follow(&before, &held),
            Err(error) => tracing::warn!(%error, "cannot look for cancellations"),
        }
    }

    async fn claim_while_slots_are_free(&mut self) {
        if self.executions.len() >= self.settings.slots as usize {
            return;
        }
        let requirements = match self.store.known_requirements().await {
            Ok(known) => known
                .into_iter()
                .filter(|one| one.satisfied_by(&self.capabilities))
                .collect::<Vec<Requirement>>(),
            Err(error) => return tracing::warn!(%error, "cannot look for work"),
        };
        while self.executions.len() < self.settings.slots as usize {
            match self.store.claim_next(self.id, &requirements, self.settings.lease).await {
                Ok(Some(execution)) => {
                    let end = self.running.add(execution.id, execution.attempt);
                    let (executor, running) = (self.executor.clone(), self.running.clone());
                    self.executions.spawn(async move {
                        let (id, attempt) = (execution.id, execution.attempt);
                        executor.run(execution, end).await;
                        running.remove(id, attempt);
                    });
                }
                Ok(None) => return,
                Err(error) => return tracing::warn!(%error, "cannot claim work"),
            }
        }
    }

    /// Lets what runs finish; gives it back when that takes too long, cancels it when that is asked for.
    async fn drain(&mut self, stop: &mut StopSignal, mut listener: Box<dyn Listener>) {
        if let Err(error) = self.store.drain_worker(self.id).await {
            tracing::warn!(%error, "cannot say that the worker drains");
        }
        let limit = tokio::time::sleep(self.settings.shutdown_timeout);
        tokio::pin!(limit);
        let (mut late, mut cancelled) = (false, false);
        while !self.executions.is_empty() {
            tokio::select! {
                _ = self.executions.join_next() => {}
                () = stop.reached(Stage::Cancel), if !cancelled => {
                    cancelled = true;
                    self.running.end_all(EndReason::WorkerStopped);
                }
                () = &mut limit, if !late => {
                    late = true;
                    self.running.end_all(EndReason::GivenBack);
                }
                Ok(wake) = listener.wake() => if wake != Wake::LookForWork {
                    self.look_for_cancellations().await;
                },
            }
        }
    }
}
