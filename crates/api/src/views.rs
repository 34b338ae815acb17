//! What goes over the wire. The server writes these types and the command line client reads the same ones.
//!
//! Views are made from the model by `from` functions, so that what the outside sees is decided in one place: secret
//! values are masked and leases are not shown at all.

mod action;
mod artifact;
mod event;
mod execution;
mod health;
mod log;
mod pack;
mod requirement;
mod runtime;
mod worker;

pub use action::{ActionList, ActionSummary, ActionView, GroupMemberView};
pub use artifact::{ArtifactList, ArtifactView};
pub use event::{AttemptEvent, EventError, FollowEvent, StatusEvent};
pub use execution::{EarlierAttemptView, ExecutionList, ExecutionSummary, ExecutionView, SubmitExecution};
pub use health::Health;
pub use log::{LogChunkView, LogPage};
pub use pack::{PackDetail, PackList, PackView, PushedPack};
pub use requirement::{RequirementList, RequirementView};
pub use runtime::{OfferedRuntimeView, RuntimeList};
pub use worker::{CordonView, CordonWorker, InterpreterView, RuntimeView, WorkerList, WorkerView};

use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// Schema of a text that is one of a few names.
fn names(values: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values)).build()
}
