//! The least that a store must hold before it can be asked for something.

use std::time::Duration;

use attune_common::{
    model::{Action, Capabilities, Execution, Parameters, WorkerId, WorkerKind},
    store::{NewExecution, NewPack, NewWorker, Store},
};
use serde_json::json;

/// Pushes a pack with one action of a shell.
pub async fn push_action(store: &dyn Store, name: &str, max_attempts: u32) {
    let action: Action = serde_json::from_value(json!({
        "ref": name, "label": "", "description": "", "enabled": true, "runner_type": "shell", "entry_point": "work.sh",
        "parameters": {}, "parameter_delivery": "stdin", "parameter_format": "json", "output_format": "text",
        "max_attempts": max_attempts,
    }))
    .expect("an action");
    let pack = NewPack {
        r#ref: action.r#ref.pack().to_owned(),
        version: "1".to_owned(),
        label: String::new(),
        description: String::new(),
        digest: "digest".to_owned(),
        archive: Vec::new(),
        actions: vec![action],
    };
    store.push_pack(pack).await.expect("it is stored");
}

/// A start of a worker that offers nothing.
#[must_use]
pub fn new_worker(id: WorkerId, name: &str, heartbeat_interval: Duration) -> NewWorker {
    NewWorker {
        id,
        name: name.to_owned(),
        kind: WorkerKind::Agent,
        version: "1".to_owned(),
        capabilities: Capabilities::default(),
        slots: 1,
        heartbeat_interval,
    }
}

/// Submits an action without parameters, and without a key.
pub async fn submit(store: &dyn Store, action: &str) -> Execution {
    let action = action.parse().expect("a ref");
    let new = NewExecution { action, parameters: Parameters::default(), idempotency_key: None };
    store.submit(new).await.expect("it is queued").execution
}
