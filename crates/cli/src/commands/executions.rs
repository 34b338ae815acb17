//! `attune executions list|show|cancel`.

use attune_api::views::{EarlierAttemptView, ExecutionSummary, ExecutionView};
use attune_common::model::ExecutionStatus;
use indicatif::BinaryBytes;
use jiff::Timestamp;
use serde_json::Value;

use super::artifacts;
use crate::{
    arguments::ExecutionsCommand,
    client::{Client, ExecutionQuery},
    output::{Cell, Output, Paint, Table, Tone, ago, duration, execution_status, pretty, record},
};

/// Does what is asked about executions.
pub(super) async fn run(
    client: &Client,
    output: &mut Output,
    command: ExecutionsCommand,
) -> anyhow::Result<()> {
    match command {
        ExecutionsCommand::List { action, statuses, limit } => {
            let query = ExecutionQuery { action: action.as_deref(), statuses: &statuses, limit };
            let list = client.executions(&query).await?;
            if output.is_json() {
                return output.json(&list);
            }
            if list.executions.is_empty() {
                output.note("there are no such executions; 'attune run REF' submits one");
                return Ok(());
            }
            output.print(&table(&list.executions, Timestamp::now(), output.paint()))?;
            if list.next.is_some() {
                output.note(&format!("there are more than {limit}; --limit shows more"));
            }
            Ok(())
        }
        ExecutionsCommand::Show { id } => show(output, &client.execution(id).await?),
        ExecutionsCommand::Cancel { id } => {
            let execution = client.cancel(id).await?;
            if output.is_json() {
                return output.json(&execution);
            }
            Ok(output.print(cancelled(execution.summary.status))?)
        }
    }
}

fn show(output: &mut Output, execution: &ExecutionView) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(execution);
    }
    Ok(output.print(&detail(execution, Timestamp::now(), output.paint()))?)
}

fn cancelled(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Queued | ExecutionStatus::Running => "its worker has been asked to end it",
        ExecutionStatus::Cancelled => "cancelled",
        ExecutionStatus::Succeeded => "it had succeeded already; nothing was changed",
        ExecutionStatus::Failed | ExecutionStatus::TimedOut | ExecutionStatus::Lost => {
            "it had ended already; nothing was changed"
        }
    }
}

fn table(executions: &[ExecutionSummary], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(["ID", "ACTION", "STATUS", "SUBMITTED", "TIME", "WORKER", "NOTE"]);
    for execution in executions {
        table.row([
            execution.id.to_string().into(),
            execution.action.to_string().into(),
            status(execution),
            ago(now, execution.created_at).into(),
            execution.duration_seconds.map(duration).unwrap_or_default().into(),
            execution.worker.as_deref().unwrap_or_default().into(),
            note(execution).into(),
        ]);
    }
    table.render(paint)
}

fn status(execution: &ExecutionSummary) -> Cell {
    let (tone, name) = execution_status(execution.status);
    Cell::toned(tone, name)
}

/// What is odd about it.
fn note(execution: &ExecutionSummary) -> String {
    let cancelling = execution.cancel_requested && !execution.status.is_final();
    let cancelling = cancelling.then(|| "is being cancelled".to_owned());
    execution.error.clone().or(cancelling).or_else(|| execution.waiting_for.clone()).unwrap_or_default()
}

fn detail(execution: &ExecutionView, now: Timestamp, paint: Paint) -> String {
    let summary = &execution.summary;
    let when = |time: Option<Timestamp>| time.map(|then| format!("{then:.3} ({})", ago(now, then)));
    let mut ending = match (execution.exit_code, execution.signal) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => String::new(),
    };
    if execution.oom_killed {
        ending.push_str(", out of memory");
    }
    let left_behind =
        if execution.leaked { "processes that it had started outlived it, and were ended" } else { "" };
    let dropped = match execution.log_bytes_dropped {
        0 => String::new(),
        bytes => format!("{bytes} bytes are missing: the log's limit was reached"),
    };
    let mut text = record(
        [
            ("id", summary.id.to_string().into()),
            ("action", summary.action.to_string().into()),
            ("status", status(summary)),
            ("error", summary.error.as_deref().map_or("".into(), |error| Cell::toned(Tone::Bad, error))),
            (
                "note",
                Cell::toned(
                    Tone::Notice,
                    if summary.error.is_some() { String::new() } else { note(summary) },
                ),
            ),
            ("ended with", ending.into()),
            ("left behind", Cell::toned(Tone::Notice, left_behind)),
            ("requires", summary.requirement.to_string().into()),
            ("worker", summary.worker.as_deref().unwrap_or_default().into()),
            ("interpreter", execution.interpreter.as_deref().unwrap_or_default().into()),
            ("attempt", attempt(summary.attempt, summary.max_attempts).into()),
            ("submitted", when(Some(summary.created_at)).unwrap_or_default().into()),
            ("started", when(summary.started_at).unwrap_or_default().into()),
            ("finished", when(summary.finished_at).unwrap_or_default().into()),
            ("time", summary.duration_seconds.map(duration).unwrap_or_default().into()),
            ("used", used(execution.cpu_seconds, execution.peak_memory_bytes).into()),
            (
                "pack",
                format!("{} {} ({})", execution.pack, execution.pack_version, execution.pack_digest).into(),
            ),
            ("log", dropped.into()),
        ],
        paint,
    );
    let mut add = |heading: &str, content: &str| {
        text.extend(["\n", &paint.paint(Tone::Dim, heading), "\n", content]);
    };
    for (name, value) in [
        ("parameters", Some(Value::from(execution.parameters.clone()))),
        ("result", execution.result.clone()),
    ] {
        if let Some(value) = value.filter(|value| *value != serde_json::json!({})) {
            add(name, &(pretty(&value) + "\n"));
        }
    }
    if !execution.earlier_attempts.is_empty() {
        add("earlier attempts", &earlier_attempts(&execution.earlier_attempts, now, paint));
    }
    if !execution.artifacts.is_empty() {
        add("artifacts", &artifacts::table(&execution.artifacts, paint));
    }
    text
}

fn attempt(number: u32, max_attempts: u32) -> String {
    // those that a worker gave back do not count
    if number > max_attempts {
        format!("{number} (at most {max_attempts}, beside those that were given back)")
    } else {
        format!("{number} of {max_attempts}")
    }
}

fn used(cpu_seconds: Option<f64>, peak_memory_bytes: Option<u64>) -> String {
    let used = [
        cpu_seconds.map(|seconds| format!("{} of processor time", duration(seconds))),
        peak_memory_bytes.map(|bytes| format!("{} of memory at most", BinaryBytes(bytes))),
    ];
    used.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn earlier_attempts(attempts: &[EarlierAttemptView], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(["ATTEMPT", "WORKER", "STARTED", "TIME", "USED", "WHY IT WAS NOT THE LAST"]);
    for earlier in attempts {
        let time = earlier.ended_at.duration_since(earlier.started_at).as_secs_f64();
        table.row([
            earlier.attempt.to_string().into(),
            earlier.worker.as_deref().unwrap_or_default().into(),
            ago(now, earlier.started_at).into(),
            duration(time).into(),
            used(earlier.cpu_seconds, earlier.peak_memory_bytes).into(),
            earlier.error.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executions() -> Vec<ExecutionView> {
        let execution = |changes: Value| {
            let mut execution = serde_json::json!({
                "id": "0190163d-8694-739b-aea5-966c26f8ad91", "action": "examples.summarise_csv",
                "requirement": "python >=3.8", "status": "succeeded", "attempt": 1, "max_attempts": 2,
                "cancel_requested": false, "worker": "laptop", "created_at": "2025-06-01T11:59:00.123456Z",
                "started_at": "2025-06-01T11:59:00.2Z", "finished_at": "2025-06-01T11:59:00.25Z",
                "duration_seconds": 0.05, "pack": "examples", "pack_version": "1.0.0",
                "pack_digest": "0a1b2c3d", "parameters": {"group_by": "region", "key": "********"},
                "exit_code": 0, "result": {"rows": 12}, "interpreter": "/usr/bin/python3 (3.11.2)",
                "log_bytes_dropped": 0, "cpu_seconds": 0.041, "peak_memory_bytes": 12_582_912,
                "artifacts": [{"path": "summary.csv", "size": 4096, "sha256": "0a1b2c3d", "media_type": "text/csv"}],
                "earlier_attempts": [],
            });
            execution.as_object_mut().unwrap().append(&mut changes.as_object().unwrap().clone());
            serde_json::from_value(execution).unwrap()
        };
        vec![
            execution(serde_json::json!({})),
            execution(serde_json::json!({
                "id": "0190163d-8694-739b-aea5-966c26f8ad92", "status": "failed", "exit_code": null, "signal": 9,
                "error": "ended by signal 9", "result": null, "log_bytes_dropped": 512, "parameters": {},
                "leaked": true, "oom_killed": true, "artifacts": [],
            })),
            execution(serde_json::json!({
                "id": "0190163d-8694-739b-aea5-966c26f8ad93", "action": "examples.fit_trend", "status": "queued",
                "requirement": "r >=3.5", "attempt": 0, "worker": null, "started_at": null, "finished_at": null,
                "duration_seconds": null, "waiting_for": "no worker satisfies 'r >=3.5'", "exit_code": null,
                "result": null, "interpreter": null, "artifacts": [],
            })),
            execution(serde_json::json!({
                "id": "0190163d-8694-739b-aea5-966c26f8ad94", "status": "running", "cancel_requested": true,
                "duration_seconds": 75.5, "finished_at": null, "exit_code": null, "result": null, "artifacts": [],
                "attempt": 3, "earlier_attempts": [
                    {"attempt": 2, "worker": "laptop", "started_at": "2025-06-01T11:57:00Z", "ended_at": "2025-06-01T11:57:30Z",
                     "error": "worker laptop was not heard of since 2025-06-01T11:57:00Z while it ran attempt 2"},
                    {"attempt": 1, "worker": "desktop", "started_at": "2025-06-01T11:55:00Z", "ended_at": "2025-06-01T11:55:02Z",
                     "error": "given back: its worker stopped", "signal": 15, "cpu_seconds": 1.2,
                     "peak_memory_bytes": 12_582_912},
                ],
            })),
        ]
    }

    #[test]
    fn executions_as_a_table_and_in_detail() {
        let now = "2025-06-01T12:00:00Z".parse().unwrap();
        let views = executions();
        let summaries: Vec<ExecutionSummary> = views.iter().map(|view| view.summary.clone()).collect();
        insta::assert_snapshot!(table(&summaries, now, Paint::PLAIN));
        let details: Vec<String> = views.iter().map(|view| detail(view, now, Paint::PLAIN)).collect();
        insta::assert_snapshot!(details.join("\n---\n"));
    }
}
