//! `attune run`: submit an action, or the members of a group, and watch.

mod group;
mod skip;

use attune_api::views::{ActionView, ExecutionView, SubmitExecution};
use attune_common::model::runtime::GROUP;

use super::artifacts;
use crate::{
    arguments::RunArguments,
    client::Client,
    exit::ExitClass,
    following::{self, Followed, Interrupts},
    output::{Output, Paint, Tone, duration, execution_status, one_line, pretty},
    parameters::ParameterArguments,
};

/// What to run, and how.
pub(crate) struct Request {
    /// The action or group.
    pub(crate) action: String,
    /// Its parameters.
    pub(crate) parameters: ParameterArguments,
    /// Whether to submit only.
    pub(crate) detach: bool,
    /// Key that makes repeated submissions one.
    pub(crate) idempotency_key: Option<String>,
}

impl From<RunArguments> for Request {
    fn from(arguments: RunArguments) -> Self {
        let RunArguments { action, follow: _, detach, idempotency_key, parameters } = arguments;
        Self { action, parameters, detach, idempotency_key }
    }
}

/// Runs an action or a group.
pub(crate) async fn run(
    client: &Client,
    output: &mut Output,
    interrupts: &mut Interrupts,
    request: &Request,
) -> anyhow::Result<ExitClass> {
    let action = client.action(&request.action).await?;
    if action.summary.runner_type == GROUP {
        return group::run(client, output, interrupts, request, &action).await;
    }
    let submitted = client.submit(&submission(&action, request)?).await?;
    if request.detach {
        detached(output, &submitted)?;
        return Ok(ExitClass::Succeeded);
    }
    let id = submitted.summary.id;
    let Followed::Ended(execution) = following::to_the_end(client, output, interrupts, id).await? else {
        return Ok(ExitClass::Cancelled);
    };
    if output.is_json() {
        output.json(&execution)?;
    } else {
        let paint = output.note_paint();
        if let Some(result) = &execution.result {
            output.note(&format!("{}\n{}", paint.paint(Tone::Dim, "result"), pretty(result)));
        }
        output.note(&summary(&execution, paint));
        if let Some(hint) = artifacts::hint(&execution) {
            output.note(&paint.paint(Tone::Dim, &hint));
        }
    }
    Ok(ExitClass::of_execution(&execution))
}

fn submission(action: &ActionView, request: &Request) -> anyhow::Result<SubmitExecution> {
    Ok(SubmitExecution {
        action: action.summary.r#ref.to_string(),
        parameters: request.parameters.collect(&action.parameters)?,
        idempotency_key: request.idempotency_key.clone(),
    })
}

fn detached(output: &mut Output, execution: &ExecutionView) -> anyhow::Result<()> {
    if let Some(reason) = &execution.summary.waiting_for {
        output.warn(&format!("{reason} yet; it waits (see 'attune requirements')"));
    }
    if output.is_json() {
        return output.json(execution);
    }
    Ok(output.print(&execution.summary.id.to_string())?)
}

/// How an execution ended, in one line.
fn summary(execution: &ExecutionView, paint: Paint) -> String {
    let (tone, status) = execution_status(execution.summary.status);
    let status = paint.paint(tone, &status.replace('_', " "));
    let time = execution.summary.duration_seconds.map(|seconds| format!(" in {}", duration(seconds)));
    let problem = problem(execution).map(|problem| format!(": {problem}"));
    let id = execution.summary.id.to_string();
    let details = [execution.interpreter.as_deref(), execution.summary.worker.as_deref(), Some(&id)];
    let details = details.into_iter().flatten().map(|detail| format!(" · {}", one_line(detail)));
    let details = paint.paint(Tone::Dim, &details.collect::<String>());
    format!("{status}{}{}{details}", time.unwrap_or_default(), problem.unwrap_or_default())
}

/// Why an execution did not succeed.
fn problem(execution: &ExecutionView) -> Option<String> {
    if let Some(error) = &execution.summary.error {
        return Some(one_line(error));
    }
    match (execution.exit_code, execution.signal) {
        (Some(code), _) if code != 0 => Some(format!("exit status {code}")),
        (None, Some(signal)) => Some(format!("signal {signal}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use attune_common::model::ExecutionStatus;
    use serde_json::{Value, json};

    use super::*;

    pub(super) fn execution(changes: &Value) -> ExecutionView {
        let mut execution = json!({
            "id": "0190163d-8694-739b-aea5-966c26f8ad91", "action": "examples.summarise_csv",
            "requirement": "python >=3.8", "status": "succeeded", "attempt": 1, "max_attempts": 1,
            "cancel_requested": false, "worker": "laptop", "created_at": "2025-06-01T11:59:00Z",
            "duration_seconds": 0.05, "pack": "examples", "pack_version": "1.0.0", "pack_digest": "0a1b2c3d",
            "parameters": {}, "exit_code": 0, "result": {"rows": 12},
            "interpreter": "/usr/bin/python3 (3.11.2)", "log_bytes_dropped": 0,
        });
        execution.as_object_mut().unwrap().append(&mut changes.as_object().unwrap().clone());
        serde_json::from_value(execution).unwrap()
    }

    #[test]
    fn endings_in_one_line() {
        let lines = [
            json!({}),
            json!({"status": "failed", "exit_code": 3}),
            json!({"status": "failed", "exit_code": 3, "error": "exit status 3: no such\nfile"}),
            json!({"status": "failed", "exit_code": null, "signal": 9}),
            json!({"status": "timed_out", "exit_code": null, "error": "time limit of 30 s reached"}),
            json!({"status": "cancelled", "exit_code": null, "worker": null, "interpreter": null, "duration_seconds": null}),
        ]
        .map(|changes| summary(&execution(&changes), Paint::PLAIN));
        insta::assert_snapshot!(lines.join("\n"), @r"
        succeeded in 50 ms · /usr/bin/python3 (3.11.2) · laptop · 0190163d-8694-739b-aea5-966c26f8ad91
        failed in 50 ms: exit status 3 · /usr/bin/python3 (3.11.2) · laptop · 0190163d-8694-739b-aea5-966c26f8ad91
        failed in 50 ms: exit status 3: no such file · /usr/bin/python3 (3.11.2) · laptop · 0190163d-8694-739b-aea5-966c26f8ad91
        failed in 50 ms: signal 9 · /usr/bin/python3 (3.11.2) · laptop · 0190163d-8694-739b-aea5-966c26f8ad91
        timed out in 50 ms: time limit of 30 s reached · /usr/bin/python3 (3.11.2) · laptop · 0190163d-8694-739b-aea5-966c26f8ad91
        cancelled · 0190163d-8694-739b-aea5-966c26f8ad91
        ");
    }

    #[test]
    fn every_ending_has_its_exit_status() {
        for (status, expected) in [
            (ExecutionStatus::Succeeded, 0),
            (ExecutionStatus::Failed, 1),
            (ExecutionStatus::Lost, 1),
            (ExecutionStatus::TimedOut, 124),
            (ExecutionStatus::Cancelled, 130),
        ] {
            let execution = execution(&json!({"status": status}));
            assert_eq!(ExitClass::of_execution(&execution).status(), expected, "{status}");
        }
    }
}
