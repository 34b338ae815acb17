//! Workers on the wire.

use std::collections::BTreeMap;

use attune_common::{
    model::{Worker, WorkerId, WorkerKind, WorkerStatus},
    requirement::Requirement,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::schema::Object};

/// A registered worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// Id of this start of the worker.
    #[schema(value_type = String, format = Uuid)]
    pub id: WorkerId,
    /// Name that people gave it, by default the host's.
    pub name: String,
    /// Which program it is.
    #[schema(schema_with = kind_schema)]
    pub kind: WorkerKind,
    /// Version of the program.
    pub version: String,
    /// Whether it takes work.
    #[schema(schema_with = status_schema)]
    pub status: WorkerStatus,
    /// How many executions it runs at once.
    pub slots: u32,
    /// Executions it runs now.
    pub running: u32,
    /// Usable runtimes.
    pub runtimes: Vec<RuntimeView>,
    /// Labels that requirements may ask for.
    pub labels: BTreeMap<String, String>,
    /// Machine architecture, such as `x86_64`.
    pub architecture: String,
    /// Operating system, such as `linux`.
    pub operating_system: String,
    /// When it registered.
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = String, format = DateTime)]
    pub heartbeat_at: Timestamp,
}

/// One runtime of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeView {
    /// Canonical name, such as `python`.
    pub name: String,
    /// Installed interpreters, the default first.
    pub interpreters: Vec<InterpreterView>,
}

/// One installed interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterpreterView {
    /// Absolute path on the worker.
    pub path: String,
    /// Version, where the interpreter tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Every registered worker, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    /// The workers.
    pub workers: Vec<WorkerView>,
}

impl From<Worker> for WorkerView {
    fn from(worker: Worker) -> Self {
        let runtimes = worker.capabilities.runtimes.into_iter().map(|runtime| RuntimeView {
            name: runtime.name,
            interpreters: runtime
                .interpreters
                .into_iter()
                .map(|interpreter| InterpreterView {
                    path: interpreter.path,
                    version: interpreter.version.map(|version| version.to_string()),
                })
                .collect(),
        });
        Self {
            id: worker.id,
            name: worker.name,
            kind: worker.kind,
            version: worker.version,
            status: worker.status,
            slots: worker.slots,
            running: worker.running,
            runtimes: runtimes.collect(),
            labels: worker.capabilities.labels,
            architecture: worker.capabilities.architecture,
            operating_system: worker.capabilities.operating_system,
            registered_at: worker.registered_at,
            heartbeat_at: worker.heartbeat_at,
        }
    }
}

/// Names of the online workers that satisfy a requirement.
pub(super) fn satisfying<'a>(
    requirement: &'a Requirement,
    workers: &'a [Worker],
) -> impl Iterator<Item = &'a str> {
    workers
        .iter()
        .filter(|worker| {
            worker.status == WorkerStatus::Online && requirement.satisfied_by(&worker.capabilities)
        })
        .map(|worker| worker.name.as_str())
}

fn kind_schema() -> Object {
    super::names(["agent", "worker", "dev"])
}

fn status_schema() -> Object {
    super::names(["online", "draining", "lost"])
}
