//! Keeps the values of secret parameters out of everything that is stored or logged.
//!
//! [`secrets`] finds the values that have to be hidden, [`forms`] knows how programs write them, [`matcher`] finds those
//! forms in bytes, and [`stream`] replaces them in output that comes in pieces.
//!
//! What is found are the forms that [`forms`] lists. A program that hides a value on purpose (encrypts, reverses, prints
//! it character by character) is not stopped: redaction is against accidents.

mod forms;
mod matcher;
mod secrets;
mod stream;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc};

use attune_common::model::{ParameterSchema, Parameters};
use matcher::Matcher;
use secrets::Secrets;
use serde_json::{Map, Value};
pub use stream::RedactedStream;

/// Most names in the warning about values that are not masked.
const MAX_NAMED: usize = 20;

/// Most bytes that are searched, all forms together: each takes about seventeen bytes of memory while the action runs.
const MAX_PATTERN_BYTES: usize = 4 * 1024 * 1024;

/// Why secrets cannot be kept out of the log. Values never appear.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// The patterns would take too much memory.
    #[error(
        "secret parameters take {bytes} bytes, more than can be kept out of the log ({} bytes, fewer with many special characters): hand over where the secret is, not the secret",
        secrets::MAX_BYTES
    )]
    TooLarge {
        /// Their size together, in bytes.
        bytes: usize,
    },
    /// No search can be prepared.
    #[error("cannot prepare the redaction of secret parameters")]
    Search(#[from] aho_corasick::BuildError),
}

/// Replaces the secret values of one execution by [`Parameters::MASK`]. Clones share what they search for.
#[derive(Clone)]
pub struct Redactor {
    /// Absent when nothing has to be hidden.
    matcher: Option<Arc<Matcher>>,
    /// Names of parameters with a value that is too short to be masked.
    short: Arc<[String]>,
}

impl Redactor {
    /// A redactor for the parameters of one execution.
    ///
    /// # Errors
    /// When there is too much to hide.
    pub fn new(schema: &ParameterSchema, parameters: &Parameters) -> Result<Self, RedactError> {
        let Secrets { texts, short, bytes } = secrets::collect(schema, parameters)?;
        let mut patterns = BTreeSet::new();
        for text in &texts {
            forms::add(text, &mut patterns);
        }
        let patterns = matcher::pieces(patterns);
        if patterns.iter().map(Vec::len).sum::<usize>() > MAX_PATTERN_BYTES {
            return Err(RedactError::TooLarge { bytes });
        }
        let matcher = if patterns.is_empty() { None } else { Some(Arc::new(Matcher::new(patterns)?)) };
        Ok(Self { matcher, short: short.into() })
    }

    /// Redaction of one stream of bytes.
    #[must_use]
    pub fn stream(&self) -> RedactedStream {
        RedactedStream::new(self.matcher.clone())
    }

    /// A text without secrets.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut stream = self.stream();
        let mut shown = stream.push(text.as_bytes().to_vec());
        shown.extend(stream.finish());
        // a value is searched in pieces of bytes, and the end of one may lie within a character
        String::from_utf8(shown)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// A document without secrets, in its keys as in its values.
    #[must_use]
    pub fn value(&self, value: Value) -> Value {
        let Some(matcher) = &self.matcher else { return value };
        let shown = self.leaves(value);
        // a secret that is a document by itself need not be within one of its texts
        if matcher.finds(shown.to_string().as_bytes()) { Value::from(Parameters::MASK) } else { shown }
    }

    fn leaves(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Number(number) => {
                let text = number.to_string();
                let shown = self.text(&text);
                if shown == text { Value::Number(number) } else { Value::String(shown) }
            }
            Value::Array(items) => items.into_iter().map(|item| self.leaves(item)).collect(),
            Value::Object(entries) => Value::Object(self.entries(entries)),
            Value::Null | Value::Bool(_) => value,
        }
    }

    /// Keys that become the same are numbered, so that nothing gets lost.
    fn entries(&self, entries: Map<String, Value>) -> Map<String, Value> {
        let mut shown = Map::new();
        let mut repeated = 1;
        for (key, value) in entries {
            let masked = self.text(&key);
            let mut key = masked.clone();
            while shown.contains_key(&key) {
                repeated += 1;
                key = format!("{masked} ({repeated})");
            }
            shown.insert(key, self.leaves(value));
        }
        shown
    }

    /// What people should know: whose values, or lines of them, are too short to be masked.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let names: Vec<String> = self.short.iter().take(MAX_NAMED).map(|name| format!("'{name}'")).collect();
        if names.is_empty() {
            return None;
        }
        let more = match self.short.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "secret values, and lines of them, that are shorter than {} characters are not masked: parameter {}{more}",
            secrets::MIN_CHARACTERS,
            names.join(", ")
        ))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("active", &self.matcher.is_some()).finish_non_exhaustive()
    }
}
