//! Workers: what they offer, and whether they are alive.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::WorkerId;
use crate::requirement::Taint;

/// What a worker can do; requirements are matched against it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Usable runtimes.
    pub runtimes: Vec<RuntimeCapability>,
    /// Labels given to the worker, such as `gpu=nvidia`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints given to the worker: it takes only what tolerates all of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub taints: BTreeSet<Taint>,
    /// Whether the runtimes were found by themselves, rather than configured.
    pub auto_detected: bool,
    /// Machine architecture in Rust's words, such as `x86_64`.
    pub architecture: String,
    /// Operating system in Rust's words, such as `linux`.
    pub operating_system: String,
    /// Name and version of the distribution, such as `Debian GNU/Linux 12 (bookworm)`, where the system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// C library of the interpreters, `glibc` or `musl`, where they tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libc: Option<String>,
    /// Processors that the worker may use.
    pub cpus: u32,
    /// Memory that the worker may use, in bytes: of its control group, else of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// One runtime with every installed interpreter; the first one is the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeCapability {
    /// Canonical name, such as `python`.
    pub name: String,
    /// Installed interpreters, the default first. Never empty.
    pub interpreters: Vec<InterpreterCapability>,
}

/// One installed interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterpreterCapability {
    /// Absolute path.
    pub path: String,
    /// Version, where the interpreter tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// Which program a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerKind {
    /// `attune-agent`: runtimes were detected.
    Agent,
    /// `attune-worker`: runtimes were configured.
    Worker,
    /// The worker inside `attune dev`.
    Dev,
}

impl WorkerStatus {
    /// The status that follows from what is stored; what comes first here outweighs what follows.
    pub(crate) fn of(silent: bool, draining: bool, cordoned: bool) -> Self {
        if silent {
            Self::Lost
        } else if draining {
            Self::Draining
        } else if cordoned {
            Self::Cordoned
        } else {
            Self::Online
        }
    }
}

impl WorkerKind {
    /// Name of the program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Agent => "attune-agent",
            Self::Worker => "attune-worker",
            Self::Dev => "attune",
        }
    }
}

/// Whether a worker takes work, judged by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    /// Its heartbeat is fresh.
    Online,
    /// Somebody cordoned its name: it finishes what it runs and takes nothing new until that is undone.
    Cordoned,
    /// It finishes what it runs and takes nothing new.
    Draining,
    /// It missed three heartbeats.
    Lost,
}

/// A cordon around a worker's name: whoever has the name takes no work, also after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Why, in somebody's words; empty when nobody said.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// A registered worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Id of this start of the worker: what tells workers of one name apart.
    pub id: WorkerId,
    /// Name that people gave it, by default the host's.
    pub name: String,
    /// Which program it is.
    pub kind: WorkerKind,
    /// Version of the program.
    pub version: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How many executions it runs at once.
    pub slots: u32,
    /// Whether it takes work.
    pub status: WorkerStatus,
    /// The cordon around its name, if there is one.
    pub cordon: Option<Cordon>,
    /// Executions it runs now.
    pub running: u32,
    /// When it registered.
    pub registered_at: Timestamp,
    /// When it was last heard of.
    pub heartbeat_at: Timestamp,
}
