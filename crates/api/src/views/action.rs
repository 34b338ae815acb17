//! Actions on the wire.

use std::collections::{BTreeMap, BTreeSet};

use attune_common::{
    model::{
        Action, ActionRef, OutputFormat, ParameterDelivery, ParameterFormat, ParameterSchema, Parameters,
        Worker,
    },
    requirement::{Requirement, Taint},
    store::RequirementLoad,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{ToSchema, openapi::schema::Object};

use super::worker::satisfying;

/// An action in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionSummary {
    /// Name, such as `examples.tour`.
    #[schema(value_type = String)]
    pub r#ref: ActionRef,
    /// One line for people.
    pub label: String,
    /// Whether it can be submitted.
    pub enabled: bool,
    /// Canonical runtime name, `native` or `group`.
    pub runner_type: String,
    /// What a worker must have; absent for groups, which do not run themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "python >=3.11")]
    pub requirement: Option<Requirement>,
    /// Free words for people.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Actions, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionList {
    /// The actions.
    pub actions: Vec<ActionSummary>,
}

/// An action with everything that its manifest says, and who could run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionView {
    /// What lists show too.
    #[serde(flatten)]
    pub summary: ActionSummary,
    /// A longer text for people.
    pub description: String,
    /// Script relative to the pack's `actions` folder; empty for groups.
    pub entry_point: String,
    /// Actions of a group, in order: what is submitted instead of it.
    #[serde(default)]
    pub members: Vec<GroupMemberView>,
    /// Parameters by name: JSON Schema keywords plus `required` and `secret`. Defaults of secret ones are masked.
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// How parameters reach the process.
    #[schema(schema_with = delivery_schema)]
    pub parameter_delivery: ParameterDelivery,
    /// How parameters are written.
    #[schema(schema_with = parameter_format_schema)]
    pub parameter_format: ParameterFormat,
    /// How the result is read from standard output.
    #[schema(schema_with = output_format_schema)]
    pub output_format: OutputFormat,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Limit of one attempt, in seconds. Without it the worker's default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Labels that a worker must have.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints that a worker may have.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["dedicated=ml"]))]
    pub tolerations: BTreeSet<Taint>,
    /// How often it may be started when workers are lost while running it.
    pub max_attempts: u32,
    /// Names of the online workers that satisfy the requirement.
    pub satisfied_by: Vec<String>,
    /// Executions that are queued for the requirement.
    pub waiting: u64,
}

/// One action of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupMemberView {
    /// The action to run.
    #[schema(value_type = String)]
    pub action: ActionRef,
    /// Parameters for it, as they are to be submitted.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
}

impl From<&Action> for ActionSummary {
    fn from(action: &Action) -> Self {
        Self {
            r#ref: action.r#ref.clone(),
            label: action.label.clone(),
            enabled: action.enabled,
            runner_type: action.runner_type.clone(),
            requirement: (!action.is_group()).then(|| action.requirement()),
            tags: action.tags.clone(),
        }
    }
}

impl ActionView {
    /// The view of an action. `loads` and `workers` are all that the store knows.
    #[must_use]
    pub fn from_model(action: Action, loads: &[RequirementLoad], workers: &[Worker]) -> Self {
        let summary = ActionSummary::from(&action);
        let required = summary.requirement.as_ref();
        let satisfied_by =
            required.map(|requirement| satisfying(requirement, workers).map(str::to_owned).collect());
        let load = loads.iter().find(|load| Some(&load.requirement) == required);
        let members = action.members.into_iter();
        Self {
            satisfied_by: satisfied_by.unwrap_or_default(),
            waiting: load.map_or(0, |load| load.waiting),
            summary,
            description: action.description,
            entry_point: action.entry_point,
            members: members
                .map(|member| GroupMemberView { action: member.action, parameters: member.parameters })
                .collect(),
            parameters: shown_parameters(&action.parameters),
            parameter_delivery: action.parameter_delivery,
            parameter_format: action.parameter_format,
            output_format: action.output_format,
            output_schema: action.output_schema,
            timeout: action.timeout,
            labels: action.labels,
            tolerations: action.tolerations,
            max_attempts: action.max_attempts,
        }
    }
}

fn shown_parameters(schema: &ParameterSchema) -> Map<String, Value> {
    let mut shown = Map::new();
    for (name, parameter) in schema.iter() {
        let mut keywords = parameter.schema.clone();
        if parameter.required {
            keywords.insert("required".to_owned(), true.into());
        }
        if parameter.secret {
            keywords.insert("secret".to_owned(), true.into());
            if let Some(default) = keywords.get_mut("default") {
                *default = Parameters::MASK.into();
            }
        }
        shown.insert(name.to_owned(), Value::Object(keywords));
    }
    shown
}

fn delivery_schema() -> Object {
    super::names(["stdin", "env", "file"])
}

fn parameter_format_schema() -> Object {
    super::names(["json", "dotenv", "yaml"])
}

fn output_format_schema() -> Object {
    super::names(["text", "json", "yaml", "jsonl"])
}
