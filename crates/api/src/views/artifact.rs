//! Artifacts on the wire.

use attune_common::model::Artifact;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A file that an execution left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactView {
    /// Its path below the artifacts folder, parts separated by `/`.
    #[schema(example = "reports/summary.csv")]
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content in hexadecimal digits.
    pub sha256: String,
    /// Its media type, guessed from its name and content.
    #[schema(example = "text/csv")]
    pub media_type: String,
}

/// The files that an execution left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactList {
    /// The files, by path.
    pub artifacts: Vec<ArtifactView>,
}

impl From<Artifact> for ArtifactView {
    fn from(Artifact { path, size, sha256, media_type }: Artifact) -> Self {
        Self { path, size, sha256, media_type }
    }
}
