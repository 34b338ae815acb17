//! Health on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer of a healthy server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    pub status: String,
    /// Version of the server.
    pub version: String,
}
