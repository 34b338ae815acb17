//! Actions: what can be run, as their manifests say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionRef, ParameterSchema, runtime};
use crate::requirement::{Requirement, Taint, VersionRange};

/// How parameters reach the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterDelivery {
    /// Written to standard input.
    #[default]
    Stdin,
    /// One environment variable a parameter: `ATTUNE_ACTION_<NAME>`.
    Env,
    /// Written to a private file whose path is in `ATTUNE_PARAMETERS_FILE`.
    File,
}

/// How parameters are written for standard input and file delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterFormat {
    /// One JSON object.
    #[default]
    Json,
    /// `name='value'` lines, with `'` written as `'\''`.
    Dotenv,
    /// One YAML mapping.
    Yaml,
}

/// How the result is read from standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// Output is log only; there is no result.
    #[default]
    Text,
    /// The last JSON document on standard output.
    Json,
    /// The whole standard output as one YAML document.
    Yaml,
    /// Every line of standard output is a JSON document; the result is their list.
    Jsonl,
}

/// The signal by which a process is asked to end, before it is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// The usual one.
    #[default]
    #[serde(alias = "SIGTERM")]
    Term,
    /// As from a terminal.
    #[serde(alias = "SIGINT")]
    Int,
    /// As from a terminal, with a core dump by default.
    #[serde(alias = "SIGQUIT")]
    Quit,
    /// The terminal is gone.
    #[serde(alias = "SIGHUP")]
    Hup,
    /// Whatever the program makes of it.
    #[serde(alias = "SIGUSR1")]
    Usr1,
    /// Whatever the program makes of it.
    #[serde(alias = "SIGUSR2")]
    Usr2,
}

/// One action of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupMember {
    /// The action to run.
    pub action: ActionRef,
    /// Parameters for it.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub parameters: serde_json::Map<String, Value>,
}

/// A script with a manifest. The form is the one that executions keep a snapshot of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Name, such as `examples.tour`.
    pub r#ref: ActionRef,
    /// One line for people.
    pub label: String,
    /// A longer text for people.
    pub description: String,
    /// Disabled actions are refused at submission.
    pub enabled: bool,
    /// Canonical runtime name, `native` or `group`.
    pub runner_type: String,
    /// Versions of the runtime that will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<VersionRange>,
    /// Script relative to the pack's `actions` folder. Empty for groups.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entry_point: String,
    /// Actions of a group, in order. Empty for everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<GroupMember>,
    /// What the action may be given.
    pub parameters: ParameterSchema,
    /// How parameters reach the process.
    pub parameter_delivery: ParameterDelivery,
    /// How parameters are written.
    pub parameter_format: ParameterFormat,
    /// How the result is read.
    pub output_format: OutputFormat,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Limit of one attempt, in seconds. Without it the worker's default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// How its process is asked to end.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// Labels that a worker must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints that a worker may have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tolerations: BTreeSet<Taint>,
    /// How often the action may be started when workers are lost while running it.
    pub max_attempts: u32,
    /// Free words for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Action {
    /// Whether this is a list of other actions rather than something to run.
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.runner_type == runtime::GROUP
    }

    /// What a worker must have to run the action.
    #[must_use]
    pub fn requirement(&self) -> Requirement {
        Requirement::new(
            &self.runner_type,
            self.runtime_version.clone(),
            self.labels.clone(),
            self.tolerations.clone(),
        )
    }

    /// Limit of one attempt.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}
