//! Preparing everything that is known when a worker starts, so that no execution has to wait for it.

use std::{collections::BTreeSet, sync::Arc};

use attune_common::{
    model::{Action, Pack},
    store::Store,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Bounds, Environments, NotPrepared, Wanted};
use crate::{
    interpreter,
    packs::PackCache,
    process::{EndReason, Output},
    runtime_detect::{Detection, Interpreter, Runtime},
    stop::{Stage, StopSignal},
};

/// One environment to prepare.
struct Task<'a> {
    pack: &'a Pack,
    runtime: &'a Runtime,
    interpreter: &'a Interpreter,
}

/// Unpacks every current pack and builds every environment that its actions need of these interpreters.
///
/// What fails is logged and does not keep the worker from starting: the executions that need it say so again.
pub async fn prepare(
    store: &Arc<dyn Store>,
    packs: &PackCache,
    environments: &Environments,
    detection: &Detection,
    stop: &StopSignal,
) {
    let (end, reason) = watch::channel(None);
    let mut stop = stop.clone();
    let all = prepare_all(store, packs, environments, detection, reason);
    tokio::pin!(all);
    tokio::select! {
        () = &mut all => {}
        () = stop.reached(Stage::Drain) => {
            // the installer that runs now is ended in order, and its environment removed
            end.send_replace(Some(EndReason::WorkerStopped));
            all.await;
        }
    }
}

async fn prepare_all(
    store: &Arc<dyn Store>,
    packs: &PackCache,
    environments: &Environments,
    detection: &Detection,
    mut end: watch::Receiver<Option<EndReason>>,
) {
    let known = match known(store).await {
        Ok(known) => known,
        Err(error) => return tracing::warn!(%error, "cannot look for packs to prepare"),
    };
    let tasks: Vec<Task<'_>> =
        known.iter().flat_map(|(pack, actions)| tasks(pack, actions, detection)).collect();
    let of = tasks.len();
    for (number, task) in tasks.into_iter().enumerate() {
        if end.borrow().is_some() {
            return;
        }
        let (pack, runtime) = (&task.pack.r#ref, &task.runtime.name);
        let interpreter = task.interpreter.path.display();
        let started = Instant::now();
        tracing::info!(number = number + 1, of, pack, runtime, %interpreter, "preparing");
        match one(store, packs, environments, &task, end.clone()).await {
            Ok(()) => {
                let seconds = started.elapsed().as_secs();
                tracing::info!(number = number + 1, of, pack, runtime, %interpreter, seconds, "prepared");
            }
            Err(NotPrepared::Failed(error)) => {
                let error = format!("{error:#}");
                tracing::warn!(number = number + 1, of, pack, runtime, %interpreter, error, "not prepared");
            }
            Err(NotPrepared::Ended(ending)) => {
                let timed_out = ending.timed_out;
                tracing::warn!(number = number + 1, of, pack, runtime, %interpreter, timed_out, "not prepared");
            }
        }
    }
    tokio::select! {
        () = environments.compiled() => {}
        _ = end.wait_for(Option::is_some) => {}
    }
}

async fn known(store: &Arc<dyn Store>) -> attune_common::store::Result<Vec<(Pack, Vec<Action>)>> {
    let mut known = Vec::new();
    for pack in store.packs().await? {
        let actions = store.actions(Some(&pack.r#ref)).await?;
        known.push((pack, actions));
    }
    Ok(known)
}

/// The interpreters that a pack's actions would be run by, each once.
fn tasks<'a>(pack: &'a Pack, actions: &[Action], detection: &'a Detection) -> Vec<Task<'a>> {
    let mut seen = BTreeSet::new();
    let chosen = actions.iter().filter_map(|action| interpreter::choose(detection, &action.requirement()));
    chosen
        .filter(|(runtime, interpreter)| seen.insert((runtime.name.clone(), interpreter.path.clone())))
        .map(|(runtime, interpreter)| Task { pack, runtime, interpreter })
        .collect()
}

async fn one(
    store: &Arc<dyn Store>,
    packs: &PackCache,
    environments: &Environments,
    task: &Task<'_>,
    end: watch::Receiver<Option<EndReason>>,
) -> Result<(), NotPrepared> {
    let pack = packs.materialise(store, &task.pack.digest).await?;
    let wanted = Wanted {
        pack: pack.path(),
        digest: &task.pack.digest,
        runtime: &task.runtime.name,
        interpreter: Some(task.interpreter),
    };
    let (output, lines) = mpsc::channel(16);
    let bounds = Bounds { deadline: Instant::now() + environments.settings.default_timeout, output, end };
    let log = tokio::spawn(log(lines));
    let prepared = environments.prepare(wanted, &bounds).await.map(drop);
    drop(bounds);
    log.await?;
    prepared
}

async fn log(mut lines: mpsc::Receiver<Output>) {
    while let Some(line) = lines.recv().await {
        tracing::debug!("{}", String::from_utf8_lossy(&line.data).trim_end());
    }
}
