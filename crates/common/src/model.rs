//! What the system is about: packs, their actions and recipes, executions, runtimes, workers.

pub mod action;
pub mod artifact;
pub mod execution;
pub mod identifiers;
pub mod log;
pub mod output_schema;
pub mod pack;
pub mod parameters;
pub mod recipe;
pub mod runtime;
pub mod worker;

pub use action::{Action, GroupMember, OutputFormat, ParameterDelivery, ParameterFormat, StopSignal};
pub use artifact::Artifact;
pub use execution::{EarlierAttempt, Execution, ExecutionStatus, Outcome};
pub use identifiers::{ActionRef, ExecutionId, InvalidName, WorkerId};
pub use log::{LogChunk, LogStream};
pub use output_schema::{OutputFault, check_output};
pub use pack::Pack;
pub use parameters::{ParameterSchema, Parameters, parameter_variable};
pub use recipe::{Places, Recipe, Template};
pub use runtime::Runtime;
pub use worker::{Capabilities, Cordon, Worker, WorkerKind, WorkerStatus};
