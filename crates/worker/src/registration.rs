//! Registering the worker, and saying that it lives.

use std::{convert::Infallible, sync::Arc};

use attune_common::{
    model::{
        Capabilities, ExecutionId, Outcome, WorkerId, WorkerKind,
        worker::{InterpreterCapability, RuntimeCapability},
    },
    store::{Fence, Heartbeat, HeldLease, NewWorker, Store, StoreError},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    capacity,
    health::{Condition, Health, Loop, STUCK_AFTER, metrics::Operation},
    offered::{Current, Offered},
    running::Running,
    runtime_detect::Detection,
    settings::WorkerSettings,
};

/// What a worker with these interpreters and settings offers.
#[must_use]
pub fn capabilities(detection: &Detection, settings: &WorkerSettings) -> Capabilities {
    let runtimes = detection.runtimes.iter().map(|runtime| RuntimeCapability {
        name: runtime.name.clone(),
        interpreters: runtime
            .interpreters
            .iter()
            .map(|one| InterpreterCapability {
                path: one.path.display().to_string(),
                version: one.version.clone(),
            })
            .collect(),
    });
    Capabilities {
        runtimes: runtimes.collect(),
        labels: settings.labels.clone(),
        taints: settings.taints.clone(),
        auto_detected: settings.kind != WorkerKind::Worker,
        architecture: std::env::consts::ARCH.to_owned(),
        operating_system: std::env::consts::OS.to_owned(),
        distribution: capacity::distribution(),
        libc: detection.libc().map(str::to_owned),
        cpus: capacity::cpus(),
        memory_bytes: capacity::memory_bytes(),
    }
}

/// Registers the worker, or registers it again.
pub(crate) async fn register(
    store: &Arc<dyn Store>,
    id: WorkerId,
    settings: &WorkerSettings,
    offered: &Offered,
) -> Result<(), StoreError> {
    let worker = NewWorker {
        id,
        name: settings.name.clone(),
        kind: settings.kind,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: (*offered.capabilities()).clone(),
        slots: settings.slots,
        heartbeat_interval: settings.heartbeat_interval,
    };
    store.register_worker(worker).await
}

/// Says that the worker lives, renews its leases, and ends what was cancelled or taken away. Never returns.
///
/// When the store has not answered for a whole lease, [`Running`] has ended everything. The worker then registers again: it was
/// lost, and starts from nothing.
pub(crate) async fn heartbeat(
    store: Arc<dyn Store>,
    id: WorkerId,
    settings: WorkerSettings,
    offered: Offered,
    mut changes: watch::Receiver<Current>,
    running: Running,
    health: Health,
) -> Infallible {
    let mut ticks = tokio::time::interval(settings.heartbeat_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    let mut registered = true;
    let mut unknown = Vec::new();
    loop {
        health.turned(Loop::Heartbeat, settings.heartbeat_interval + STUCK_AFTER);
        tokio::select! {
            _ = ticks.tick() => {}
            // Others shall not be told of more than what there is. This is no heartbeat: from one to the next, every claim under way
            // has the time to be answered.
            Ok(()) = changes.changed() => {
                registered = register_again(&store, id, &settings, &offered).await;
                continue;
            }
        }
        let before = running.attempts();
        let asked = Instant::now();
        match store.heartbeat(id, settings.lease).await {
            Ok(Heartbeat { leases, cordoned }) => {
                let silent_for = asked.duration_since(renewed);
                renewed = asked;
                health.met(Condition::Registered);
                health.met_for(Condition::Heartbeat, settings.lease);
                health.metrics().heartbeat_answered();
                running.set_cordoned(cordoned);
                running.renew(&leases, asked + settings.lease);
                running.follow(&before, &leases);
                unknown = give_back_unknown(&store, id, &leases, &running, &unknown).await;
                if silent_for > settings.lease {
                    tracing::warn!(worker = %id, ?silent_for, "this worker was not heard of for longer than a lease");
                    registered = false;
                }
                if !registered {
                    registered = register_again(&store, id, &settings, &offered).await;
                }
            }
            Err(StoreError::NotFound(_)) => {
                health.unmet(Condition::Registered, "the store does not know this worker any more");
                tracing::warn!(worker = %id, "the store does not know this worker any more");
                registered = register_again(&store, id, &settings, &offered).await;
            }
            Err(error) => {
                health.metrics().store_failed(Operation::Heartbeat);
                health.unmet(Condition::Heartbeat, "the last one failed; the log says why");
                tracing::warn!(%error, "heartbeat failed");
            }
        }
    }
}

async fn register_again(
    store: &Arc<dyn Store>,
    id: WorkerId,
    settings: &WorkerSettings,
    offered: &Offered,
) -> bool {
    let registered = register(store, id, settings, offered).await;
    match &registered {
        Ok(()) => tracing::info!(worker = %id, "registered again"),
        Err(error) => tracing::warn!(%error, "cannot register again, trying with the next heartbeat"),
    }
    registered.is_ok()
}

/// Gives back leases whose claim was never answered: the store gave them, but nothing here runs them. Returns those seen
/// for the first time; one that is still there at the next heartbeat is no claim under way.
async fn give_back_unknown(
    store: &Arc<dyn Store>,
    worker: WorkerId,
    held: &[HeldLease],
    running: &Running,
    seen_before: &[(ExecutionId, u32)],
) -> Vec<(ExecutionId, u32)> {
    let known = running.attempts();
    let mut first_seen = Vec::new();
    for lease in held.iter().filter(|lease| !known.contains(&(lease.execution, lease.attempt))) {
        if !seen_before.contains(&(lease.execution, lease.attempt)) {
            first_seen.push((lease.execution, lease.attempt));
            continue;
        }
        let fence = Fence { execution: lease.execution, attempt: lease.attempt, worker };
        let outcome = Outcome {
            error: Some("given back: it was claimed, but never started".to_owned()),
            ..Outcome::default()
        };
        if let Err(error) = store.release(fence, outcome, Vec::new()).await {
            tracing::warn!(execution = %lease.execution, %error, "cannot give back a lease that nothing here holds");
        }
    }
    first_seen
}
