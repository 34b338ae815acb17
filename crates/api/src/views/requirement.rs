//! Requirements on the wire.

use attune_common::{model::Worker, requirement::Requirement, store::RequirementLoad};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::worker::satisfying;

/// A requirement, who waits for it and who satisfies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequirementView {
    /// The requirement's canonical text.
    #[schema(value_type = String, example = "python >=3.11; gpu=nvidia")]
    pub requirement: Requirement,
    /// Executions queued for it.
    pub waiting: u64,
    /// Executions that run.
    pub running: u64,
    /// When the oldest waiting execution was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_waiting: Option<Timestamp>,
    /// Names of the online workers that satisfy it.
    pub workers: Vec<String>,
}

/// Every requirement that the store knows, by text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequirementList {
    /// The requirements.
    pub requirements: Vec<RequirementView>,
}

impl RequirementView {
    /// The view of a requirement's load. `workers` are all registered ones.
    #[must_use]
    pub fn from_model(load: RequirementLoad, workers: &[Worker]) -> Self {
        Self {
            workers: satisfying(&load.requirement, workers).map(str::to_owned).collect(),
            requirement: load.requirement,
            waiting: load.waiting,
            running: load.running,
            oldest_waiting: load.oldest_waiting,
        }
    }
}
