//! What the exit status says.

use std::io;

use attune_api::views::ExecutionView;
use attune_common::{config::ConfigError, model::ExecutionStatus, pack::PackError};
use attune_worker::runtime_detect::DetectError;

use crate::{client::ClientError, endpoint::EndpointError};

/// The exit status classes, for `--help`.
pub(crate) const HELP: &str = "\
Exit status:
  0    done; of an action: it succeeded
  1    the action failed or was lost, or something else went wrong
  2    bad input: arguments, parameters, files, or what was named does not exist
  4    the API is not known, cannot be reached, or refuses the token
  124  the action timed out
  130  the action was cancelled
  141  whoever read standard output has gone away";

/// How a run of the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitClass {
    /// Everything was done.
    Succeeded,
    /// The action failed, or something nobody could foresee happened.
    Failed,
    /// What was given cannot be used.
    BadInput,
    /// There is no API to talk to.
    NoApi,
    /// The action reached its time limit.
    TimedOut,
    /// The action was cancelled.
    Cancelled,
    /// Standard output is closed, as in `attune executions list | head -1`.
    ReaderGone,
}

/// Input that cannot be used. As the context of another error it makes that one bad input, too.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadInput(pub(crate) String);

impl ExitClass {
    /// The process's exit status.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::NoApi => 4,
            Self::TimedOut => 124,
            Self::Cancelled => 130,
            // what a shell reports of a program that SIGPIPE ended
            Self::ReaderGone => 141,
        }
    }

    /// The class of a finished execution.
    pub(crate) fn of_execution(execution: &ExecutionView) -> Self {
        match execution.summary.status {
            ExecutionStatus::Succeeded => Self::Succeeded,
            ExecutionStatus::TimedOut => Self::TimedOut,
            ExecutionStatus::Cancelled => Self::Cancelled,
            ExecutionStatus::Failed
            | ExecutionStatus::Lost
            | ExecutionStatus::Queued
            | ExecutionStatus::Running => Self::Failed,
        }
    }

    /// The class of an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        };
        if error.chain().any(broken_pipe) {
            return Self::ReaderGone;
        }
        if let Some(error) = error.downcast_ref::<ClientError>() {
            return Self::of_client(error);
        }
        if let Some(error) = error.downcast_ref::<EndpointError>() {
            return Self::of_endpoint(error);
        }
        let bad_input = error.is::<BadInput>()
            || error.is::<PackError>()
            || error.is::<ConfigError>()
            || error.is::<DetectError>();
        if bad_input { Self::BadInput } else { Self::Failed }
    }

    fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. }
            | ClientError::Refused { .. }
            | ClientError::Unreadable { .. } => Self::NoApi,
            ClientError::Setup(_) => Self::Failed,
            ClientError::Problem(problem) => match problem.status {
                400..500 => Self::BadInput,
                502..=504 => Self::NoApi,
                _ => Self::Failed,
            },
        }
    }

    fn of_endpoint(error: &EndpointError) -> Self {
        match error {
            EndpointError::Unknown | EndpointError::NotRunning(_) | EndpointError::NoToken(_) => Self::NoApi,
            EndpointError::Url { .. } | EndpointError::Insecure(_) | EndpointError::File { .. } => {
                Self::BadInput
            }
        }
    }

    /// How bad the class is among the members of a group.
    fn severity(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::TimedOut => 1,
            Self::Failed => 2,
            Self::BadInput => 3,
            Self::NoApi => 4,
            Self::ReaderGone => 5,
            Self::Cancelled => 6,
        }
    }

    /// The worse of two.
    pub(crate) fn worst(self, other: Self) -> Self {
        if other.severity() > self.severity() { other } else { self }
    }
}

/// The error and its causes in one line. Causes that the text before already tells are left out.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if message.is_empty() {
            message = cause;
        } else if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    crate::output::one_line(&message)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};
    use attune_api::problem::ProblemDocument;

    use super::*;

    fn problem(status: u16) -> anyhow::Error {
        let document = ProblemDocument {
            r#type: "urn:attune:problem:test".to_owned(),
            title: "test".to_owned(),
            status,
            detail: "what went wrong".to_owned(),
            errors: Vec::new(),
        };
        ClientError::Problem(Box::new(document)).into()
    }

    #[test]
    fn every_error_has_its_class() {
        let unreachable = ClientError::Unreachable {
            url: "http://127.0.0.1:1/".to_owned(),
            reason: "connection refused".to_owned(),
            hint: String::new(),
        };
        let refused = ClientError::Refused { url: "http://127.0.0.1:1/".to_owned(), detail: "no".to_owned() };
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        let missing = io::Error::from(io::ErrorKind::NotFound);
        for (error, class) in [
            (unreachable.into(), ExitClass::NoApi),
            (refused.into(), ExitClass::NoApi),
            (EndpointError::Unknown.into(), ExitClass::NoApi),
            (problem(400), ExitClass::BadInput),
            (problem(404), ExitClass::BadInput),
            (problem(409), ExitClass::BadInput),
            (problem(413), ExitClass::BadInput),
            (problem(422), ExitClass::BadInput),
            (problem(500), ExitClass::Failed),
            (problem(503), ExitClass::NoApi),
            (BadInput("x".to_owned()).into(), ExitClass::BadInput),
            (anyhow!("x"), ExitClass::Failed),
            (anyhow::Error::from(missing).context(BadInput("cannot read x".to_owned())), ExitClass::BadInput),
            (anyhow::Error::from(pipe).context("cannot write"), ExitClass::ReaderGone),
        ] {
            assert_eq!(ExitClass::of(&error), class, "{error:#}");
            let wrapped = Err::<(), _>(error).context("while testing").unwrap_err();
            assert_eq!(ExitClass::of(&wrapped), class, "{wrapped:#}");
        }
    }

    #[test]
    fn the_worst_member_decides() {
        use ExitClass::{Cancelled, Failed, Succeeded, TimedOut};
        assert_eq!(Succeeded.worst(Succeeded), Succeeded);
        assert_eq!(TimedOut.worst(Succeeded), TimedOut);
        assert_eq!(TimedOut.worst(Failed), Failed);
        assert_eq!(Failed.worst(TimedOut), Failed);
        assert_eq!(Cancelled.worst(Failed), Cancelled);
    }

    #[test]
    fn statuses_are_the_documented_ones() {
        use ExitClass::{BadInput, Cancelled, Failed, NoApi, ReaderGone, Succeeded, TimedOut};
        let all = [Succeeded, Failed, BadInput, NoApi, TimedOut, Cancelled, ReaderGone];
        assert_eq!(all.map(ExitClass::status), [0, 1, 2, 4, 124, 130, 141]);
        for status in all.map(ExitClass::status) {
            assert!(HELP.lines().any(|line| line.starts_with(&format!("  {status:<5}"))), "{status}");
        }
    }

    #[test]
    fn causes_are_told_once() {
        let cause = io::Error::other("it is on fire");
        let error = anyhow::Error::from(cause).context("cannot read x: it is on fire").context("no luck");
        assert_eq!(message(&error), "no luck: cannot read x: it is on fire");
    }
}
