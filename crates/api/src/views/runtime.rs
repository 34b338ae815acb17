//! Runtimes on the wire.

use std::collections::BTreeSet;

use attune_common::model::{Runtime, Worker, WorkerStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A runtime that some worker has offered, and who offers it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferedRuntimeView {
    /// Canonical name, such as `python`.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Whether every Attune knows it; others come from hints files.
    pub built_in: bool,
    /// How many workers offer it, lost ones not counted.
    pub workers: usize,
    /// The versions that they have, the highest first.
    pub versions: Vec<String>,
    /// Name of the worker that was the first to offer it.
    pub registered_by: String,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: Timestamp,
}

/// Runtimes, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeList {
    /// The runtimes.
    pub runtimes: Vec<OfferedRuntimeView>,
}

impl OfferedRuntimeView {
    /// The view of a runtime. `workers` are all registered ones.
    #[must_use]
    pub fn from_model(runtime: Runtime, workers: &[Worker]) -> Self {
        let offers: Vec<_> = workers
            .iter()
            .filter(|worker| worker.status != WorkerStatus::Lost)
            .filter_map(|worker| worker.capabilities.runtimes.iter().find(|one| one.name == runtime.name))
            .collect();
        let interpreters = offers.iter().flat_map(|offer| &offer.interpreters);
        let versions: BTreeSet<_> = interpreters.filter_map(|one| one.version.as_ref()).collect();
        Self {
            workers: offers.len(),
            versions: versions.into_iter().rev().map(ToString::to_string).collect(),
            name: runtime.name,
            label: runtime.label,
            built_in: runtime.built_in,
            registered_by: runtime.registered_by,
            registered_at: runtime.registered_at,
        }
    }
}
