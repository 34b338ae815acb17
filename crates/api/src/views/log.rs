//! Logs on the wire: text where the bytes are UTF-8, Base64 where they are not, so that every byte survives.

use attune_common::model::{LogChunk, LogStream};
use base64::{DecodeError, Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::schema::Object};

/// A piece of an attempt's log; it has either `text` or `base64`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogChunkView {
    /// Position of the first byte in the attempt's whole log, in bytes.
    pub offset: u64,
    /// Where the bytes come from; `system` are the worker's own remarks.
    #[schema(schema_with = stream_schema)]
    pub stream: LogStream,
    /// When the worker read them.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The bytes, when they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in Base64 (RFC 4648 section 4), when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(content_encoding = "base64")]
    pub base64: Option<String>,
}

/// A part of an attempt's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// The attempt.
    pub attempt: u32,
    /// The part, in order and without gaps.
    pub chunks: Vec<LogChunkView>,
    /// What to give as `from` to read on, in bytes.
    pub next: u64,
    /// Whether nothing will follow: the attempt has ended and `next` is behind its last byte.
    pub complete: bool,
}

impl From<LogChunk> for LogChunkView {
    fn from(chunk: LogChunk) -> Self {
        let (text, base64) = match String::from_utf8(chunk.data) {
            Ok(text) => (Some(text), None),
            Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
        };
        Self { offset: chunk.offset, stream: chunk.stream, at: chunk.at, text, base64 }
    }
}

impl LogChunkView {
    /// The bytes.
    ///
    /// # Errors
    /// When `base64` is not Base64.
    pub fn into_bytes(self) -> Result<Vec<u8>, DecodeError> {
        match (self.text, self.base64) {
            (Some(text), _) => Ok(text.into_bytes()),
            (None, Some(encoded)) => STANDARD.decode(encoded),
            (None, None) => Ok(Vec::new()),
        }
    }
}

fn stream_schema() -> Object {
    super::names([LogStream::Stdout, LogStream::Stderr, LogStream::System].map(LogStream::as_str))
}
