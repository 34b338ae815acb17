//! The log of an attempt: both output streams, in the order in which the worker read them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a piece of log comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The action's standard output.
    Stdout,
    /// The action's standard error.
    Stderr,
    /// The worker's own remarks, such as where the log was cut.
    System,
}

impl LogStream {
    /// The name under which the stream is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }

    /// The stream of a stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::System].into_iter().find(|stream| stream.as_str() == name)
    }
}

/// A piece of an attempt's log. Bytes, not text: whatever the action wrote survives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Position of the first byte in the attempt's whole log, in bytes.
    pub offset: u64,
    /// Where the bytes come from.
    pub stream: LogStream,
    /// When the worker read them.
    pub at: Timestamp,
    /// The bytes.
    pub data: Vec<u8>,
}

impl LogChunk {
    /// Position just behind the chunk, in bytes: where the next one starts.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}
