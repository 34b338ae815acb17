//! What can go wrong with a request.

use attune_api::problem::ProblemDocument;

/// Why a request did not lead to an answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
    /// Nobody answers.
    #[error("cannot reach the Attune API at {url}: {reason}{hint}")]
    Unreachable {
        /// The API.
        url: String,
        /// Why.
        reason: String,
        /// What to do, with a leading separator, or nothing.
        hint: String,
    },
    /// The API does not take the token.
    #[error("the Attune API at {url} refuses the token: {detail}")]
    Refused {
        /// The API.
        url: String,
        /// What it says.
        detail: String,
    },
    /// The API says what is wrong.
    #[error("{}", .0.detail)]
    Problem(Box<ProblemDocument>),
    /// Somebody answers, but not as the API does.
    #[error("what answers at {url} is not an Attune API that this program understands: {reason}")]
    Unreadable {
        /// The API.
        url: String,
        /// Why.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same request may well succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => problem.status >= 500,
            Self::Setup(_) | Self::Refused { .. } | Self::Unreadable { .. } => false,
        }
    }
}

/// The error at the end of the chain, in lower case and without the system's number: the others only say that
/// something went wrong.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
