//! `attune workers`: the list, `cordon` and `uncordon`.

use attune_api::views::{CordonWorker, RuntimeView, WorkerView};
use attune_common::model::WorkerId;
use jiff::Timestamp;

use crate::{
    arguments::WorkersCommand,
    client::Client,
    output::{Output, Paint, Table, ago, worker_status},
};

/// How much of an id tells instances apart: its last digits are random.
const INSTANCE_DIGITS: usize = 8;

/// Lists workers, or keeps work from some.
pub(super) async fn run(
    client: &Client,
    output: &mut Output,
    command: Option<WorkersCommand>,
) -> anyhow::Result<()> {
    let (list, remark) = match command {
        None => (
            client.workers().await?,
            "there are no workers; 'attune dev' starts one on this machine".to_owned(),
        ),
        Some(WorkersCommand::Cordon { name, reason }) => {
            let list = client.cordon(&name, &CordonWorker { reason }).await?;
            (list, format!("the name '{name}' is cordoned; no worker has it now"))
        }
        Some(WorkersCommand::Uncordon { name }) => {
            let list = client.uncordon(&name).await?;
            (list, format!("the name '{name}' is not cordoned any more; no worker has it now"))
        }
    };
    if output.is_json() {
        return output.json(&list);
    }
    if list.workers.is_empty() {
        output.note(&remark);
        return Ok(());
    }
    Ok(output.print(&table(&list.workers, Timestamp::now(), output.paint()))?)
}

fn table(workers: &[WorkerView], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new([
        "WORKER", "INSTANCE", "STATUS", "RUNNING", "HEARD OF", "RUNTIMES", "LABELS", "TAINTS", "CORDON",
    ]);
    for worker in workers {
        let labels: Vec<String> =
            worker.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let taints: Vec<String> = worker.taints.iter().map(ToString::to_string).collect();
        let cordon = worker.cordon.as_ref().map(|cordon| cordon.reason.as_str()).unwrap_or_default();
        table.row([
            worker.name.as_str().into(),
            instance(worker.id).into(),
            worker_status(worker.status),
            format!("{} of {}", worker.running, worker.slots).into(),
            ago(now, worker.heartbeat_at).into(),
            worker.runtimes.iter().map(runtime).collect::<Vec<_>>().join(", ").into(),
            labels.join(", ").into(),
            taints.join(", ").into(),
            cordon.into(),
        ]);
    }
    table.render(paint)
}

fn instance(id: WorkerId) -> String {
    let id = id.to_string();
    id[id.len() - INSTANCE_DIGITS..].to_owned()
}

/// A runtime with the version of its default interpreter, and how many more there are.
fn runtime(runtime: &RuntimeView) -> String {
    let mut text = runtime.name.clone();
    if let Some(version) = runtime.interpreters.first().and_then(|default| default.version.as_deref()) {
        text.extend([" ", version]);
    }
    match runtime.interpreters.len() {
        0 | 1 => text,
        count => format!("{text} (+{})", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_as_a_table() {
        let workers: Vec<WorkerView> = serde_json::from_value(serde_json::json!([
            {
                "id": "0190163d-8694-739b-aea5-966c26f8ad91", "name": "build-7", "kind": "agent",
                "version": "0.1.0", "status": "online", "slots": 4, "running": 1,
                "runtimes": [
                    {"name": "shell", "interpreters": [{"path": "/bin/dash"}]},
                    {"name": "python", "interpreters": [
                        {"path": "/usr/bin/python3", "version": "3.11.2"},
                        {"path": "/usr/local/bin/python3.12", "version": "3.12.1"},
                    ]},
                ],
                "labels": {"gpu": "nvidia"}, "taints": ["dedicated=ml"], "auto_detected": true,
                "architecture": "x86_64", "operating_system": "linux", "cpus": 8,
                "registered_at": "2025-06-01T11:00:00Z", "heartbeat_at": "2025-06-01T11:59:57Z",
            },
            {
                "id": "0190163d-8694-739b-aea5-966c26f8ad92", "name": "build-7", "kind": "worker",
                "version": "0.1.0", "status": "lost", "slots": 1, "running": 0, "runtimes": [], "labels": {},
                "auto_detected": false, "architecture": "x86_64", "operating_system": "linux", "cpus": 8,
                "registered_at": "2025-06-01T11:00:00Z", "heartbeat_at": "2025-06-01T11:10:00Z",
            },
            {
                "id": "0190163d-8694-739b-aea5-966c26f8ad93", "name": "old", "kind": "worker",
                "version": "0.1.0", "status": "cordoned", "slots": 1, "running": 0, "runtimes": [], "labels": {},
                "cordon": {"reason": "new disk", "at": "2025-06-01T11:00:00Z"},
                "auto_detected": false, "architecture": "x86_64", "operating_system": "linux", "cpus": 8,
                "registered_at": "2025-06-01T11:00:00Z", "heartbeat_at": "2025-06-01T11:10:00Z",
            },
        ]))
        .unwrap();
        let now = "2025-06-01T12:00:00Z".parse().unwrap();
        insta::assert_snapshot!(table(&workers, now, Paint::PLAIN));
    }
}
