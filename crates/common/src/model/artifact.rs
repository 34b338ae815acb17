//! Artifacts: files that an action leaves behind.

use serde::{Deserialize, Serialize};

/// A file that an attempt left in its artifacts folder. Its content is in the [artifact store](crate::artifact_store).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its path below the artifacts folder, parts separated by `/`: neither absolute nor with `.` or `..`, and without
    /// control characters.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content in hexadecimal digits.
    pub sha256: String,
    /// Its media type (RFC 6838), guessed from its name and content.
    pub media_type: String,
}

/// Longest path of an artifact, in bytes. Keys in S3 have at most 1024, and the execution's part comes first.
const MAX_PATH: usize = 800;

/// Longest part of a path, in bytes. Files have at most 255 in their names, and stores add to them.
const MAX_PART: usize = 200;

/// Most parts of a path.
const MAX_DEPTH: usize = 32;

/// Why a path cannot be that of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It leads elsewhere, or nowhere.
    #[error("its path is not relative, or has an empty part, '.' or '..'")]
    NotBelow,
    /// It holds what would steer a terminal or break a line.
    #[error("its name holds a control character")]
    ControlCharacter,
    /// It is too long for a store.
    #[error("its path is too long: {MAX_PATH} bytes, with {MAX_PART} for every name, are the most")]
    TooLong,
    /// It is too deep.
    #[error("it lies too deep: {MAX_DEPTH} names in a path are the most")]
    TooDeep,
}

/// Checks that a path stays below the folder that it is put into, and that every store and every terminal can take it.
pub fn check_path(path: &str) -> Result<(), PathFault> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(PathFault::NotBelow);
    }
    if path.contains(char::is_control) {
        return Err(PathFault::ControlCharacter);
    }
    if path.len() > MAX_PATH || path.split('/').any(|part| part.len() > MAX_PART) {
        return Err(PathFault::TooLong);
    }
    if path.split('/').count() > MAX_DEPTH { Err(PathFault::TooDeep) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_and_fit_everywhere() {
        let (part, deep) = ("n".repeat(MAX_PART), ["d"; MAX_DEPTH].join("/"));
        for path in ["a", "a b/c.txt", "größe/日本.csv", "..a/b..", "a\\b", "#1", &part, &deep] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for (path, fault) in [
            ("", PathFault::NotBelow),
            ("/etc/passwd", PathFault::NotBelow),
            ("a//b", PathFault::NotBelow),
            ("a/", PathFault::NotBelow),
            ("./a", PathFault::NotBelow),
            ("a/../../b", PathFault::NotBelow),
            ("a\nb", PathFault::ControlCharacter),
            ("a\u{9b}2J", PathFault::ControlCharacter),
            (&format!("{part}n"), PathFault::TooLong),
            (&[part.as_str(); 5].join("/"), PathFault::TooLong),
            (&format!("{deep}/d"), PathFault::TooDeep),
        ] {
            assert_eq!(check_path(path), Err(fault), "{path}");
        }
    }
}
