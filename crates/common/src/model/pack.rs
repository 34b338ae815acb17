//! Packs: versioned folders of actions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A pack as it was pushed. Its files are an archive, found by `digest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Name, such as `examples`.
    pub r#ref: String,
    /// Version of the pack's author.
    pub version: String,
    /// One line for people.
    pub label: String,
    /// A longer text for people.
    pub description: String,
    /// SHA-256 of the archive, as 64 lower-case hexadecimal digits.
    pub digest: String,
    /// When this version was pushed.
    pub pushed_at: Timestamp,
    /// How many actions it has.
    pub actions: u32,
}
