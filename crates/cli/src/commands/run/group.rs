//! Groups: the members one after the other, and a table at the end.

use attune_api::views::{ActionView, ExecutionView, GroupMemberView, SubmitExecution, WorkerView};
use attune_common::model::ActionRef;
use serde::Serialize;

use super::{Request, problem, skip};
use crate::{
    client::Client,
    exit::{BadInput, ExitClass},
    following::{self, Followed, Interrupts},
    output::{Cell, Output, Paint, Table, Tone, duration, execution_status},
};

/// What became of one member.
#[derive(Serialize)]
struct Member {
    action: ActionRef,
    #[serde(skip)]
    runtime: String,
    /// Why it was not submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Box<ExecutionView>>,
}

/// The document for programs.
#[derive(Serialize)]
struct Report<'a> {
    group: &'a ActionRef,
    members: &'a [Member],
}

/// Whether to go on with the next member.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    GoOn,
    Stop,
}

/// Runs the members of a group that some worker can run.
pub(super) async fn run(
    client: &Client,
    output: &mut Output,
    interrupts: &mut Interrupts,
    request: &Request,
    group: &ActionView,
) -> anyhow::Result<ExitClass> {
    let name = &group.summary.r#ref;
    if !request.parameters.is_empty() {
        let message = format!(
            "{name} is a group, whose manifest says what its members are given; run a member by itself to give it parameters"
        );
        return Err(BadInput(message).into());
    }
    if !group.summary.enabled {
        let message =
            format!("action '{name}' is disabled; set 'enabled: true' in its manifest and push the pack");
        return Err(BadInput(message).into());
    }
    let mut members = Vec::new();
    let mut next = Next::GoOn;
    for (number, member) in group.members.iter().enumerate() {
        if next == Next::Stop {
            break;
        }
        let action = client.action(&member.action.to_string()).await?;
        let workers = client.workers().await?.workers;
        let mut report = Member {
            action: member.action.clone(),
            runtime: action.summary.runner_type.clone(),
            skipped: None,
            execution: None,
        };
        if let Some(reason) = reason_to_skip(&action, &workers) {
            head(output, number, &member.action, &format!("skipped: {reason}"));
            report.skipped = Some(reason);
        } else {
            head(output, number, &member.action, &interpreter(&action, &workers));
            next =
                one(client, output, interrupts, &submission(member, number, request), request, &mut report)
                    .await?;
        }
        members.push(report);
    }
    tell(output, name, &members, request.detach)?;
    Ok(class(&members, next, request.detach))
}

fn reason_to_skip(action: &ActionView, workers: &[WorkerView]) -> Option<String> {
    match &action.summary.requirement {
        _ if !action.summary.enabled => Some("it is disabled".to_owned()),
        Some(requirement) if action.satisfied_by.is_empty() => Some(skip::reason(requirement, workers)),
        _ => None,
    }
}

fn interpreter(action: &ActionView, workers: &[WorkerView]) -> String {
    action
        .summary
        .requirement
        .as_ref()
        .map(|requirement| skip::likely_interpreter(requirement, &action.satisfied_by, workers))
        .unwrap_or_default()
}

fn submission(member: &GroupMemberView, number: usize, request: &Request) -> SubmitExecution {
    SubmitExecution {
        action: member.action.to_string(),
        parameters: member.parameters.clone(),
        // one key names one execution
        idempotency_key: request.idempotency_key.as_ref().map(|key| format!("{key}/{}", number + 1)),
    }
}

/// Submits one member, and follows it.
async fn one(
    client: &Client,
    output: &mut Output,
    interrupts: &mut Interrupts,
    submission: &SubmitExecution,
    request: &Request,
    report: &mut Member,
) -> anyhow::Result<Next> {
    let submitted = client.submit(submission).await?;
    let id = submitted.summary.id;
    report.execution = Some(Box::new(submitted));
    if request.detach {
        return Ok(Next::GoOn);
    }
    let Followed::Ended(execution) = following::to_the_end(client, output, interrupts, id).await? else {
        return Ok(Next::Stop);
    };
    let class = ExitClass::of_execution(&execution);
    if class != ExitClass::Succeeded
        && let Some(problem) = problem(&execution)
    {
        output.note(&output.note_paint().paint(Tone::Bad, &problem));
    }
    report.execution = Some(execution);
    // who cancels a member means the group
    Ok(if class == ExitClass::Cancelled { Next::Stop } else { Next::GoOn })
}

fn head(output: &mut Output, number: usize, action: &ActionRef, what: &str) {
    let paint = output.note_paint();
    let gap = if number == 0 { "" } else { "\n" };
    let name = paint.paint(Tone::Strong, &action.to_string());
    let what = paint.paint(Tone::Dim, &crate::output::one_line(what));
    output.note(&format!("{gap}{} {name}  {what}", paint.paint(Tone::Active, "▸")));
}

fn tell(output: &mut Output, group: &ActionRef, members: &[Member], detach: bool) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&Report { group, members });
    }
    let table = table(members, output.note_paint());
    output.note(&format!("\n{table}"));
    for member in members.iter().filter(|_| detach) {
        if let Some(execution) = &member.execution {
            output.print(&execution.summary.id.to_string())?;
        }
    }
    Ok(())
}

fn table(members: &[Member], paint: Paint) -> String {
    let mut table = Table::new(["ACTION", "RUNTIME", "INTERPRETER", "STATUS", "TIME", "NOTE"]);
    for member in members {
        let cells = match (&member.execution, &member.skipped) {
            (Some(execution), _) => {
                let (tone, status) = execution_status(execution.summary.status);
                let time = execution.summary.duration_seconds.map(duration).unwrap_or_default();
                let interpreter = execution.interpreter.clone().unwrap_or_default();
                [
                    interpreter.into(),
                    Cell::toned(tone, status),
                    time.into(),
                    problem(execution).unwrap_or_default().into(),
                ]
            }
            (None, skipped) => {
                let reason = skipped.clone().unwrap_or_default();
                ["".into(), Cell::toned(Tone::Dim, "skipped"), "".into(), Cell::toned(Tone::Dim, reason)]
            }
        };
        let [interpreter, status, time, note] = cells;
        table.row([
            member.action.to_string().into(),
            member.runtime.as_str().into(),
            interpreter,
            status,
            time,
            note,
        ]);
    }
    table.render(paint)
}

/// The worst of what ran; nothing at all is a failure.
fn class(members: &[Member], next: Next, detach: bool) -> ExitClass {
    let ran: Vec<&ExecutionView> = members.iter().filter_map(|member| member.execution.as_deref()).collect();
    match next {
        _ if ran.is_empty() => ExitClass::Failed,
        Next::Stop => ExitClass::Cancelled,
        Next::GoOn if detach => ExitClass::Succeeded,
        Next::GoOn => {
            ran.into_iter().map(ExitClass::of_execution).fold(ExitClass::Succeeded, ExitClass::worst)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::tests::execution, *};

    fn ran(action: &str, changes: &Value) -> Member {
        Member {
            action: action.parse().unwrap(),
            runtime: "python".to_owned(),
            skipped: None,
            execution: Some(Box::new(execution(changes))),
        }
    }

    fn skipped(action: &str, reason: &str) -> Member {
        Member {
            action: action.parse().unwrap(),
            runtime: "ruby".to_owned(),
            skipped: Some(reason.to_owned()),
            execution: None,
        }
    }

    #[test]
    fn the_table_at_the_end() {
        let members = [
            ran("examples.summarise_csv", &json!({})),
            ran("examples.redact_text", &json!({"status": "failed", "exit_code": 2})),
            skipped("examples.analyse_access_log", "no ruby on this machine"),
        ];
        insta::assert_snapshot!(table(&members, Paint::PLAIN));
        let group = "examples.tour".parse().unwrap();
        let report = serde_json::to_value(Report { group: &group, members: &members }).unwrap();
        assert_eq!(report["members"][0]["execution"]["status"], "succeeded");
        assert_eq!(
            report["members"][2],
            json!({"action": "examples.analyse_access_log", "skipped": "no ruby on this machine"})
        );
    }

    #[test]
    fn the_worst_member_decides_and_skipped_ones_do_not_count() {
        let good = || ran("a.good", &json!({}));
        let bad = || ran("a.bad", &json!({"status": "failed"}));
        let slow = || ran("a.slow", &json!({"status": "timed_out"}));
        let none = || skipped("a.none", "no ruby");
        for (members, expected) in [
            (vec![good(), none()], ExitClass::Succeeded),
            (vec![good(), bad(), none()], ExitClass::Failed),
            (vec![slow(), good()], ExitClass::TimedOut),
            (vec![slow(), bad()], ExitClass::Failed),
            (vec![none(), none()], ExitClass::Failed),
            (vec![], ExitClass::Failed),
        ] {
            assert_eq!(class(&members, Next::GoOn, false), expected);
        }
        assert_eq!(class(&[good()], Next::Stop, false), ExitClass::Cancelled);
        assert_eq!(
            class(&[ran("a.b", &json!({"status": "queued"}))], Next::GoOn, true),
            ExitClass::Succeeded
        );
    }
}
