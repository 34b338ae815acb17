//! What an ended attempt means: the final status, the words for it, and the result.

use std::time::Duration;

use attune_common::{
    model::{Execution, ExecutionStatus, Outcome},
    store::NewLogChunk,
};

use crate::{
    artifacts::NotStored,
    environment::NotPrepared,
    log_writer::LogEnd,
    output::shortened,
    process::{EndReason, Ending, Status},
    redact::Redactor,
};

/// Longest error of an execution, in characters.
const MAX_ERROR: usize = 2_000;

/// What is said of an attempt that does not come to its end.
const GIVEN_BACK: &str = "given back: its worker stopped";

/// What came of an attempt.
#[derive(Debug)]
pub struct Attempt {
    /// What to do about it.
    pub verdict: Verdict,
    /// What is recorded.
    pub outcome: Outcome,
    /// Pieces of log that are not stored yet.
    pub log: Vec<NewLogChunk>,
}

/// What to do about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Record that it ended like this.
    Ended(ExecutionStatus),
    /// Give it back to the queue.
    GiveBack,
    /// Record nothing: it is somebody else's now.
    LeaseLost,
}

impl Attempt {
    /// The attempt when the files that it left are not stored: one that would have succeeded has failed.
    #[must_use]
    pub fn without_artifacts(mut self, reason: &NotStored, redactor: &Redactor) -> Self {
        let error = match reason {
            NotStored::Failed(error) => shown(&format!("its artifacts are not stored: {error:#}"), redactor),
            NotStored::Interrupted(EndReason::LeaseLost) => {
                return Self { verdict: Verdict::LeaseLost, ..self };
            }
            NotStored::Interrupted(_) => {
                self.outcome.error = Some(GIVEN_BACK.to_owned());
                return Self { verdict: Verdict::GiveBack, ..self };
            }
        };
        self.outcome.error = Some(match self.outcome.error.take() {
            Some(first) => format!("{first}; {error}"),
            None => error,
        });
        if self.verdict == Verdict::Ended(ExecutionStatus::Succeeded) {
            self.verdict = Verdict::Ended(ExecutionStatus::Failed);
        }
        self
    }
}

/// An attempt that came to no end of its own.
#[must_use]
pub fn failed(error: String) -> Attempt {
    Attempt {
        verdict: Verdict::Ended(ExecutionStatus::Failed),
        outcome: Outcome { error: Some(error), ..Outcome::default() },
        log: Vec::new(),
    }
}

/// An attempt that somebody else is to make, with what keeps this worker from it.
#[must_use]
pub fn given_back(reason: &str) -> Attempt {
    Attempt { verdict: Verdict::GiveBack, ..failed(format!("given back: {reason}")) }
}

/// An error as it is stored: without secrets, and cut only after they are out.
#[must_use]
pub fn shown(error: &str, redactor: &Redactor) -> String {
    shortened(&redactor.text(error), MAX_ERROR)
}

/// What it means that an action could not even start.
#[must_use]
pub fn unprepared(
    execution: &Execution,
    reason: NotPrepared,
    log: LogEnd,
    timeout: Duration,
    interpreter: Option<String>,
    redactor: &Redactor,
) -> Attempt {
    match reason {
        NotPrepared::Ended(ending) => {
            let mut attempt = judge(execution, ending, log, timeout, interpreter, redactor);
            // those of an installer would pass for the action's
            (attempt.outcome.exit_code, attempt.outcome.signal) = (None, None);
            attempt
        }
        NotPrepared::Failed(error) => {
            let mut attempt = failed(shown(&format!("{error:#}"), redactor));
            attempt.outcome.interpreter = interpreter;
            attempt.outcome.log_bytes_dropped = log.dropped;
            attempt.log = log.pending;
            attempt
        }
    }
}

/// Why a process failed, in words.
fn failure(status: Status, oom_killed: bool) -> String {
    match status {
        _ if oom_killed && status.is_kill() => {
            "the kernel ended the process because memory ran out".to_owned()
        }
        Status::Unseen => "the supervisor of the process was killed, and the process with it".to_owned(),
        _ if oom_killed => {
            format!(
                "the process {status}, after the kernel had ended one that it started because memory ran out"
            )
        }
        _ => format!("the process {status}"),
    }
}

/// What an ending means.
#[must_use]
pub fn judge(
    execution: &Execution,
    ending: Ending,
    log: LogEnd,
    timeout: Duration,
    interpreter: Option<String>,
    redactor: &Redactor,
) -> Attempt {
    let (exit_code, signal) = match ending.status {
        Status::Exited(code) => (Some(code), None),
        Status::Signalled(signal) => (None, Some(signal)),
        Status::Unseen => (None, None),
    };
    // what a failing action says about why need not look like a success
    let schema = execution.action.output_schema.as_ref().filter(|_| exit_code == Some(0));
    let result = log.result.read(schema, redactor);
    let (verdict, error) = match ending.reason {
        Some(EndReason::LeaseLost) => (Verdict::LeaseLost, None),
        Some(EndReason::GivenBack) => (Verdict::GiveBack, Some(GIVEN_BACK.to_owned())),
        Some(EndReason::Cancelled) => {
            (Verdict::Ended(ExecutionStatus::Cancelled), Some("cancelled while it ran".to_owned()))
        }
        Some(EndReason::WorkerStopped) => (
            Verdict::Ended(ExecutionStatus::Cancelled),
            Some("cancelled: its worker was told to stop at once".to_owned()),
        ),
        None if ending.timed_out => (
            Verdict::Ended(ExecutionStatus::TimedOut),
            Some(format!("not finished after {timeout:?}, its time limit")),
        ),
        None => match (ending.status, &result) {
            (Status::Exited(0), Ok(_)) => (Verdict::Ended(ExecutionStatus::Succeeded), None),
            (Status::Exited(0), Err(error)) => (Verdict::Ended(ExecutionStatus::Failed), Some(error.clone())),
            (status, _) => {
                (Verdict::Ended(ExecutionStatus::Failed), Some(failure(status, ending.oom_killed)))
            }
        },
    };
    // nothing that has run took no memory: then nobody was left to measure
    let measured = Some(ending.total).filter(|total| total.peak_memory_bytes > 0);
    let outcome = Outcome {
        exit_code,
        signal,
        error: error.map(|error| shown(&error, redactor)),
        // an action that fails may still have said why, in its result
        result: result.ok().flatten(),
        interpreter,
        log_bytes_dropped: log.dropped,
        leaked: ending.leaked,
        oom_killed: ending.oom_killed,
        peak_memory_bytes: measured.map(|total| total.peak_memory_bytes),
        cpu_seconds: measured.map(|total| total.cpu_micros as f64 / 1e6),
        artifacts: Vec::new(),
    };
    Attempt { verdict, outcome, log: log.pending }
}
