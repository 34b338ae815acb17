//! Packs on the wire.

use attune_common::model::Pack;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ActionSummary;

/// The current version of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackView {
    /// Name, such as `examples`.
    pub r#ref: String,
    /// Version of the pack's author.
    pub version: String,
    /// One line for people.
    pub label: String,
    /// A longer text for people.
    pub description: String,
    /// SHA-256 of the archive, in hexadecimal digits.
    pub digest: String,
    /// When this version was pushed.
    #[schema(value_type = String, format = DateTime)]
    pub pushed_at: Timestamp,
    /// How many actions it has.
    pub action_count: u32,
}

/// Every pack, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackList {
    /// The packs.
    pub packs: Vec<PackView>,
}

/// A pack with its actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackDetail {
    /// The pack.
    #[serde(flatten)]
    pub pack: PackView,
    /// Its actions, by name.
    pub actions: Vec<ActionSummary>,
}

/// A pack as it was stored, with what is odd about its manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushedPack {
    /// The pack.
    #[serde(flatten)]
    pub pack: PackView,
    /// Oddities that do no harm, such as unknown keys, one line each.
    pub warnings: Vec<String>,
}

impl From<Pack> for PackView {
    fn from(pack: Pack) -> Self {
        Self {
            r#ref: pack.r#ref,
            version: pack.version,
            label: pack.label,
            description: pack.description,
            digest: pack.digest,
            pushed_at: pack.pushed_at,
            action_count: pack.actions,
        }
    }
}
