//! One execution, from its claim to its outcome.
//!
//! `recording` tells the store what came of it.

mod recording;

use std::sync::Arc;

use anyhow::{Context, anyhow};
use attune_common::{
    artifact_store::ArtifactStore,
    doorbell::Doorbell,
    model::{Execution, Outcome, StopSignal, WorkerId, runtime},
    store::{Fence, Store},
};
use rustix::process::Signal;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    artifacts::ArtifactCollector,
    cache::Lease,
    environment::{Bounds, Environments, NotPrepared, Prepared, Wanted, ahead, tidy},
    health::Metrics,
    interpreter,
    log_writer::LogWriter,
    offered::{self, Offered},
    output::ResultBuffer,
    packs::PackCache,
    params::{self, Delivery},
    process::{self, EndReason, Limits, ProcessSpec},
    redact::Redactor,
    runtime_detect::{Interpreter, Runtime},
    settings::ExecutionSettings,
    stop,
    verdict::{self, Attempt, Verdict},
    verification::Verification,
    workspace::Workspace,
};

/// Pieces of output that wait between the pipes and the log.
const OUTPUT_BACKLOG: usize = 16;

/// What runs an execution.
enum Choice {
    /// Its own program.
    Itself,
    /// An interpreter of a runtime.
    Interpreter(Box<(Runtime, Interpreter)>),
    /// Nothing any more, and why.
    Withdrawn(String),
}

/// Runs executions of one worker.
#[derive(Clone)]
pub struct Executor {
    store: Arc<dyn Store>,
    doorbell: Arc<dyn Doorbell>,
    worker: WorkerId,
    packs: PackCache,
    environments: Environments,
    artifacts: ArtifactCollector,
    offered: Offered,
    verification: Verification,
    settings: Arc<ExecutionSettings>,
    metrics: Arc<Metrics>,
}

impl Executor {
    /// An executor for the executions that `worker` claims.
    pub fn new(
        store: Arc<dyn Store>,
        doorbell: Arc<dyn Doorbell>,
        artifacts: ArtifactStore,
        worker: WorkerId,
        offered: Offered,
        settings: ExecutionSettings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let settings = Arc::new(settings);
        let environments = Environments::new(settings.clone());
        Self {
            packs: PackCache::new(settings.cache_dir.join("packs")),
            verification: Verification::new(offered.clone(), environments.clone(), settings.clone()),
            environments,
            artifacts: ArtifactCollector {
                store: artifacts,
                limits: settings.artifacts,
                grace: settings.kill_grace,
            },
            offered,
            settings,
            store,
            doorbell,
            worker,
            metrics,
        }
    }

    /// Verifies all interpreters, before anything runs.
    ///
    /// # Errors
    /// When one of them does not run scripts.
    pub async fn verify_ahead(&self, stop: &stop::StopSignal) -> anyhow::Result<()> {
        self.verification.of_all(stop).await
    }

    /// Prepares what all current packs need, before anything runs.
    pub async fn prepare_ahead(&self, stop: &stop::StopSignal) {
        let detection = self.offered.detection();
        ahead::prepare(&self.store, &self.packs, &self.environments, &detection, stop).await;
    }

    /// Keeps the caches tidy. Never returns.
    pub fn tidy(&self) -> impl Future<Output = ()> + use<> {
        tidy::regularly(self.packs.clone(), self.environments.clone())
    }

    /// Runs a claimed execution and records its outcome. `end` carries the reason to end it early.
    pub async fn run(&self, execution: Execution, end: watch::Sender<Option<EndReason>>) {
        let fence = Fence { execution: execution.id, attempt: execution.attempt, worker: self.worker };
        tracing::info!(execution = %execution.id, action = %execution.action.r#ref, attempt = execution.attempt, "started");
        let execution = Arc::new(execution);
        let attempt = match redactor(&execution).await {
            Ok(redactor) => self
                .attempt_in_task(&execution, &redactor, fence, &end)
                .await
                .unwrap_or_else(|error| verdict::failed(verdict::shown(&format!("{error:#}"), &redactor))),
            // what cannot be kept secret is not started
            Err(error) => verdict::failed(format!("{error:#}")),
        };
        match attempt.verdict {
            Verdict::Ended(status) => self.finish(fence, status, attempt.outcome, attempt.log, &end).await,
            Verdict::GiveBack => self.give_back(fence, &execution, attempt.outcome, attempt.log, &end).await,
            Verdict::LeaseLost => {
                self.metrics.lease_lost();
                tracing::warn!(execution = %execution.id, "ended: the lease is lost");
            }
        }
    }

    /// Runs the attempt in a task of its own, so that even a panic becomes an outcome.
    async fn attempt_in_task(
        &self,
        execution: &Arc<Execution>,
        redactor: &Redactor,
        fence: Fence,
        end: &watch::Sender<Option<EndReason>>,
    ) -> anyhow::Result<Attempt> {
        let (executor, execution, end) = (self.clone(), execution.clone(), end.clone());
        let redactor = redactor.clone();
        let task = tokio::spawn(async move { executor.attempt(execution, redactor, fence, &end).await });
        AbortOnDropHandle::new(task).await.context("the worker failed while it ran this")?
    }

    async fn attempt(
        &self,
        execution: Arc<Execution>,
        redactor: Redactor,
        fence: Fence,
        end: &watch::Sender<Option<EndReason>>,
    ) -> anyhow::Result<Attempt> {
        let action = &execution.action;
        let chosen = match self.choose(&execution, end).await? {
            Choice::Itself => None,
            Choice::Interpreter(interpreter) => Some(interpreter),
            Choice::Withdrawn(reason) => {
                return Ok(verdict::given_back(&verdict::shown(&reason, &redactor)));
            }
        };
        let chosen = chosen.as_deref().map(|(runtime, interpreter)| (runtime, interpreter));
        let workspace = Workspace::create(&self.settings)?;
        let interpreter = chosen.map(|(_, interpreter)| interpreter);
        let timeout = action.timeout().unwrap_or(self.settings.default_timeout);

        let (sender, receiver) = mpsc::channel(OUTPUT_BACKLOG);
        let bounds =
            Bounds { deadline: Instant::now() + timeout, output: sender.clone(), end: end.subscribe() };
        let log = LogWriter::new(
            self.store.clone(),
            fence,
            end.clone(),
            self.settings.max_log_bytes,
            &redactor,
            ResultBuffer::new(action.output_format, self.settings.max_result_bytes),
            self.metrics.clone(),
        );
        let log = tokio::spawn(log.collect(receiver));
        let prepared = self.prepare(&execution, interpreter, &bounds).await;
        let limits = Limits {
            timeout: bounds.left(),
            stop_signal: signal_number(action.stop_signal),
            kill_grace: self.settings.kill_grace,
        };
        drop(bounds);
        let ending = async {
            let (_pack, prepared) = prepared?;
            let spec = self.command(&execution, chosen, &prepared, &workspace)?;
            let program = spec.command.first().cloned().unwrap_or_default();
            let ending = process::run(spec, limits, sender, end.subscribe()).await;
            Ok::<_, NotPrepared>(ending.with_context(|| format!("cannot start {}", program.display()))?)
        };
        let ending = ending.await;
        let log = log.await.context("collecting the output was interrupted")?;
        let (judged, interpreter, secrets) =
            (execution.clone(), interpreter.map(described), redactor.clone());
        // reading a large result blocks
        let attempt = tokio::task::spawn_blocking(move || match ending {
            Ok(ending) => verdict::judge(&judged, ending, log, timeout, interpreter, &secrets),
            Err(reason) => verdict::unprepared(&judged, reason, log, timeout, interpreter, &secrets),
        })
        .await
        .context("judging what came of it was interrupted")?;
        let attempt = self.keep_artifacts(attempt, fence, &workspace, &redactor, end).await;
        // and so does removing a large folder; nothing of an execution outlives its end
        tokio::task::spawn_blocking(move || drop(workspace))
            .await
            .context("removing the workspace was interrupted")?;
        Ok(attempt)
    }

    /// The pack and the environment of an action, which stay while the returned values live.
    async fn prepare(
        &self,
        execution: &Execution,
        interpreter: Option<&Interpreter>,
        bounds: &Bounds,
    ) -> Result<(Lease, Prepared), NotPrepared> {
        let unpacked = self.packs.materialise(&self.store, &execution.pack_digest);
        let pack = bounds.limit(unpacked).await?.context("cannot prepare the pack")?;
        let wanted = Wanted {
            pack: pack.path(),
            digest: &execution.pack_digest,
            runtime: &execution.action.runner_type,
            interpreter,
        };
        let prepared = self.environments.prepare(wanted, bounds).await?;
        Ok((pack, prepared))
    }

    /// Stores what the action left, unless somebody else is to run it.
    async fn keep_artifacts(
        &self,
        attempt: Attempt,
        fence: Fence,
        workspace: &Workspace,
        redactor: &Redactor,
        end: &watch::Sender<Option<EndReason>>,
    ) -> Attempt {
        if !matches!(attempt.verdict, Verdict::Ended(_)) {
            return attempt;
        }
        let folder = workspace.artifacts();
        match self.artifacts.collect(fence.execution, fence.attempt, &folder, redactor, end.subscribe()).await
        {
            Ok(artifacts) => Attempt { outcome: Outcome { artifacts, ..attempt.outcome }, ..attempt },
            Err(reason) => attempt.without_artifacts(&reason, redactor),
        }
    }

    /// What runs an execution, verified.
    async fn choose(
        &self,
        execution: &Execution,
        end: &watch::Sender<Option<EndReason>>,
    ) -> anyhow::Result<Choice> {
        let runner = &execution.action.runner_type;
        if runner == runtime::NATIVE {
            return Ok(Choice::Itself);
        }
        loop {
            let detection = self.offered.detection();
            let Some((runtime, one)) = interpreter::choose(&detection, &execution.requirement) else {
                let withdrawn = self.offered.withdrawn();
                let last = withdrawn.iter().rev().find(|of| of.runtime == *runner);
                return last.map(|last| Choice::Withdrawn(offered::in_words(last))).ok_or_else(|| {
                    anyhow!("this worker has no interpreter for '{}'", execution.requirement)
                });
            };
            if self.verification.of(runtime, one, end.subscribe()).await.is_ok() {
                return Ok(Choice::Interpreter(Box::new((runtime.clone(), one.clone()))));
            }
        }
    }

    fn command(
        &self,
        execution: &Execution,
        chosen: Option<(&Runtime, &Interpreter)>,
        prepared: &Prepared,
        workspace: &Workspace,
    ) -> anyhow::Result<ProcessSpec> {
        let action = &execution.action;
        let script = prepared.pack.join("actions").join(&action.entry_point);
        let mut environment = workspace.environment(execution, prepared, &self.settings)?;
        let mut stdin = Vec::new();
        match params::deliver(&execution.parameters, action.parameter_delivery, action.parameter_format)? {
            Delivery::Stdin(bytes) => stdin = bytes,
            Delivery::Environment(variables) => environment.extend(variables),
            Delivery::File(bytes) => {
                environment
                    .push(("ATTUNE_PARAMETERS_FILE".into(), workspace.write_parameters(&bytes)?.into()));
            }
        }
        let mut command = match chosen {
            Some((runtime, interpreter)) => runtime.command(interpreter, &script),
            None => vec![script.into()],
        };
        if let Some(inside) = &prepared.interpreter {
            command[0] = inside.into();
        }
        Ok(ProcessSpec {
            supervisors: self.settings.supervisors.clone(),
            title: format!("{} {}", action.r#ref, execution.id),
            command,
            environment,
            directory: workspace.directory(),
            stdin,
            confinement: self.settings.confinement.clone(),
            workspace: Some(workspace.root().to_owned()),
        })
    }
}

fn signal_number(signal: StopSignal) -> i32 {
    let signal = match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
    };
    signal.as_raw()
}

/// Prepared elsewhere: for large secrets it takes a while.
async fn redactor(execution: &Arc<Execution>) -> anyhow::Result<Redactor> {
    let execution = execution.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        Redactor::new(&execution.action.parameters, &execution.parameters)
    });
    Ok(prepared.await.context("preparing the redaction of secrets was interrupted")??)
}

fn described(interpreter: &Interpreter) -> String {
    match &interpreter.version {
        Some(version) => format!("{} {version}", interpreter.path.display()),
        None => interpreter.path.display().to_string(),
    }
}
