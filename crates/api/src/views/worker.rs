//! Workers on the wire.

use std::collections::{BTreeMap, BTreeSet};

use attune_common::{
    model::{Cordon, Worker, WorkerId, WorkerKind, WorkerStatus},
    requirement::{Requirement, Taint},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::schema::Object};

/// A registered worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// Id of this start of the worker: what tells workers of one name apart.
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
    /// The cordon around its name, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<CordonView>,
    /// How many executions it runs at once.
    pub slots: u32,
    /// Executions it runs now.
    pub running: u32,
    /// Usable runtimes.
    pub runtimes: Vec<RuntimeView>,
    /// Whether they were found by themselves, rather than configured.
    pub auto_detected: bool,
    /// Labels that requirements may ask for.
    pub labels: BTreeMap<String, String>,
    /// Taints: the worker takes only what tolerates all of them.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["dedicated=ml"]))]
    pub taints: BTreeSet<Taint>,
    /// Machine architecture, such as `x86_64`.
    pub architecture: String,
    /// Operating system, such as `linux`.
    pub operating_system: String,
    /// Name and version of the distribution, such as `Debian GNU/Linux 12 (bookworm)`, where the system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// C library of its interpreters, `glibc` or `musl`, where they tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libc: Option<String>,
    /// Processors that it may use.
    pub cpus: u32,
    /// Memory that it may use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// When it registered.
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = String, format = DateTime)]
    pub heartbeat_at: Timestamp,
}

/// A cordon around a worker's name: whoever has the name takes no work, also after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CordonView {
    /// Why, in somebody's words; empty when nobody said.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// What a cordon is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CordonWorker {
    /// Why, for whoever looks at the worker.
    #[serde(default)]
    pub reason: String,
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

/// Workers, by name.
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
            cordon: worker.cordon.map(|Cordon { reason, at }| CordonView { reason, at }),
            slots: worker.slots,
            running: worker.running,
            runtimes: runtimes.collect(),
            auto_detected: worker.capabilities.auto_detected,
            labels: worker.capabilities.labels,
            taints: worker.capabilities.taints,
            architecture: worker.capabilities.architecture,
            operating_system: worker.capabilities.operating_system,
            distribution: worker.capabilities.distribution,
            libc: worker.capabilities.libc,
            cpus: worker.capabilities.cpus,
            memory_bytes: worker.capabilities.memory_bytes,
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
    super::names(["online", "cordoned", "draining", "lost"])
}
