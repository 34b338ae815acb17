//! What a worker counts, in the text format that Prometheus reads
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>. No label holds what people choose, such as an action's name:
//! the number of series is fixed, and nothing here is worth hiding from the actions of the same machine.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use attune_common::model::{Execution, ExecutionStatus, WorkerKind};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, core::Collector,
};

/// Media type of the text: it names the version of the format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds for one statement of the store, in seconds.
const STATEMENT: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// Bounds for what may take milliseconds or hours, in seconds.
const LONG: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// What asks the store: the values of the label `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Looking for work and taking it.
    Claim,
    /// Looking for cancellations.
    Look,
    /// Saying that the worker lives.
    Heartbeat,
    /// Storing a piece of log.
    Log,
    /// Recording an outcome.
    Finish,
    /// Giving an execution back.
    Release,
}

impl Operation {
    const ALL: [Self; 6] = [Self::Claim, Self::Look, Self::Heartbeat, Self::Log, Self::Finish, Self::Release];

    fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Look => "look",
            Self::Heartbeat => "heartbeat",
            Self::Log => "log",
            Self::Finish => "finish",
            Self::Release => "release",
        }
    }
}

/// Everything that one worker counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    build_info: GaugeVec,
    claims: IntCounter,
    claim_seconds: Histogram,
    queue_seconds: Histogram,
    run_seconds: Histogram,
    finished: IntCounterVec,
    given_back: IntCounter,
    leases_lost: IntCounter,
    log_stored: IntCounter,
    log_dropped: IntCounter,
    slots: IntGauge,
    slots_busy: IntGauge,
    store_errors: IntCounterVec,
    heartbeat_age: Gauge,
    conditions: GaugeVec,
    heartbeat: Mutex<Option<Instant>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            build_info: register(
                &registry,
                GaugeVec::new(
                    options("build_info", "Constant 1, with what this worker is."),
                    &["version", "program", "architecture"],
                ),
            ),
            claims: counter(&registry, "claims_total", "Executions taken from the queue."),
            claim_seconds: histogram(
                &registry,
                "claim_duration_seconds",
                "Time that the store took to answer one attempt to take an execution, won or not.",
                STATEMENT,
            ),
            queue_seconds: histogram(
                &registry,
                "queue_wait_seconds",
                "Time from the submission of an execution to its start here, by the store's clock.",
                LONG,
            ),
            run_seconds: histogram(
                &registry,
                "run_duration_seconds",
                "Time from the claim of an execution to the end of its attempt, however it ended.",
                LONG,
            ),
            finished: register(
                &registry,
                IntCounterVec::new(
                    options(
                        "executions_finished_total",
                        "Executions whose outcome was recorded, by final status.",
                    ),
                    &["status"],
                ),
            ),
            given_back: counter(
                &registry,
                "executions_given_back_total",
                "Executions given back to the queue because the worker stops.",
            ),
            leases_lost: counter(
                &registry,
                "leases_lost_total",
                "Attempts whose outcome was not recorded, because the lease had been lost.",
            ),
            log_stored: counter(&registry, "log_stored_bytes_total", "Bytes of log that were stored."),
            log_dropped: counter(
                &registry,
                "log_dropped_bytes_total",
                "Bytes of action output that the limit of the log kept out.",
            ),
            slots: gauge(&registry, "slots", "Executions that may run at once."),
            slots_busy: gauge(&registry, "slots_busy", "Executions that run now."),
            store_errors: register(
                &registry,
                IntCounterVec::new(
                    options(
                        "store_errors_total",
                        "Requests that the store failed to answer, by what was asked.",
                    ),
                    &["operation"],
                ),
            ),
            heartbeat_age: register(
                &registry,
                Gauge::with_opts(options(
                    "heartbeat_age_seconds",
                    "Time since the store last answered a heartbeat; NaN before the first answer.",
                )),
            ),
            conditions: register(
                &registry,
                GaugeVec::new(
                    options("condition", "1 while a condition of readiness holds, else 0."),
                    &["condition"],
                ),
            ),
            heartbeat: Mutex::new(None),
            registry,
        };
        // a series that exists from the start is the difference between "never" and "not measured"
        for status in ExecutionStatus::ALL.into_iter().filter(|status| status.is_final()) {
            // what is lost is found by the reaper, never recorded by a worker
            if status != ExecutionStatus::Lost {
                metrics.finished.with_label_values(&[status.as_str()]);
            }
        }
        for operation in Operation::ALL {
            metrics.store_errors.with_label_values(&[operation.as_str()]);
        }
        metrics
    }
}

impl Metrics {
    /// Says what this worker is.
    pub fn describe(&self, kind: WorkerKind, slots: u32) {
        let program = match kind {
            WorkerKind::Agent => "attune-agent",
            WorkerKind::Worker => "attune-worker",
            WorkerKind::Dev => "attune",
        };
        let labels = [env!("CARGO_PKG_VERSION"), program, std::env::consts::ARCH];
        self.build_info.with_label_values(&labels).set(1.0);
        self.slots.set(slots.into());
    }

    /// The store has answered an attempt to take an execution.
    pub fn claim_answered(&self, took: Duration, claimed: Option<&Execution>) {
        self.claim_seconds.observe(took.as_secs_f64());
        let Some(execution) = claimed else { return };
        self.claims.inc();
        if let Some(started) = execution.started_at {
            self.queue_seconds.observe(started.duration_since(execution.created_at).as_secs_f64().max(0.0));
        }
    }

    /// This many executions run.
    pub fn running(&self, executions: usize) {
        self.slots_busy.set(executions as i64);
    }

    /// An attempt has ended.
    pub fn run_ended(&self, took: Duration) {
        self.run_seconds.observe(took.as_secs_f64());
    }

    /// An outcome was recorded.
    pub fn finished(&self, status: ExecutionStatus) {
        self.finished.with_label_values(&[status.as_str()]).inc();
    }

    /// An execution was given back.
    pub fn given_back(&self) {
        self.given_back.inc();
    }

    /// How many executions were given back.
    pub fn given_back_so_far(&self) -> u64 {
        self.given_back.get()
    }

    /// An attempt ended without an outcome.
    pub fn lease_lost(&self) {
        self.leases_lost.inc();
    }

    /// Output was stored.
    pub fn log_stored(&self, bytes: u64) {
        self.log_stored.inc_by(bytes);
    }

    /// Output was dropped.
    pub fn log_dropped(&self, bytes: u64) {
        self.log_dropped.inc_by(bytes);
    }

    /// The store did not do what it was asked.
    pub fn store_failed(&self, operation: Operation) {
        self.store_errors.with_label_values(&[operation.as_str()]).inc();
    }

    /// The store has answered a heartbeat.
    pub fn heartbeat_answered(&self) {
        *self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Everything as text, with the conditions as they are now.
    ///
    /// # Errors
    /// When the text cannot be made.
    pub fn text(
        &self,
        conditions: impl IntoIterator<Item = (&'static str, bool)>,
    ) -> Result<String, prometheus::Error> {
        for (condition, met) in conditions {
            self.conditions.with_label_values(&[condition]).set(if met { 1.0 } else { 0.0 });
        }
        let heartbeat = *self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        let age = heartbeat.map_or(f64::NAN, |at| at.elapsed().as_secs_f64());
        self.heartbeat_age.set(age);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("attune_worker")
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::with_opts(options(name, help)))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(options(name, help)))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
    register(registry, Histogram::with_opts(options))
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("the name is a good one");
    registry.register(Box::new(collector.clone())).expect("no name is used twice");
    collector
}
