//! `attune workers`.

use attune_api::views::{RuntimeView, WorkerView};
use jiff::Timestamp;

use crate::{
    client::Client,
    output::{Output, Paint, Table, ago, worker_status},
};

/// Lists workers.
pub(super) async fn run(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let list = client.workers().await?;
    if output.is_json() {
        return output.json(&list);
    }
    if list.workers.is_empty() {
        output.note("there are no workers; 'attune dev' starts one on this machine");
        return Ok(());
    }
    Ok(output.print(&table(&list.workers, Timestamp::now(), output.paint()))?)
}

fn table(workers: &[WorkerView], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(["WORKER", "STATUS", "RUNNING", "HEARD OF", "RUNTIMES", "LABELS"]);
    for worker in workers {
        let labels: Vec<String> =
            worker.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row([
            worker.name.as_str().into(),
            worker_status(worker.status),
            format!("{} of {}", worker.running, worker.slots).into(),
            ago(now, worker.heartbeat_at).into(),
            worker.runtimes.iter().map(runtime).collect::<Vec<_>>().join(", ").into(),
            labels.join(", ").into(),
        ]);
    }
    table.render(paint)
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
                "labels": {"gpu": "nvidia"}, "architecture": "x86_64", "operating_system": "linux",
                "registered_at": "2025-06-01T11:00:00Z", "heartbeat_at": "2025-06-01T11:59:57Z",
            },
            {
                "id": "0190163d-8694-739b-aea5-966c26f8ad92", "name": "old", "kind": "worker",
                "version": "0.1.0", "status": "lost", "slots": 1, "running": 0, "runtimes": [], "labels": {},
                "architecture": "x86_64", "operating_system": "linux",
                "registered_at": "2025-06-01T11:00:00Z", "heartbeat_at": "2025-06-01T11:10:00Z",
            },
        ]))
        .unwrap();
        let now = "2025-06-01T12:00:00Z".parse().unwrap();
        insta::assert_snapshot!(table(&workers, now, Paint::PLAIN));
    }
}
