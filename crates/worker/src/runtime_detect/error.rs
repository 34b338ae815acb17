//! What can make a detection fail as a whole.

use super::{Detection, HintsError, Selection, families};

/// A detection that cannot be trusted, or that did not find what it was told to find.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// The hints file is unreadable or wrong.
    #[error(transparent)]
    Hints(#[from] HintsError),
    /// A selected name is no runtime.
    #[error(
        "{origin}: unknown runtime `{name}`{}; known are {}, and those that a hints file defines",
        suggestion.as_ref().map_or_else(String::new, |near| format!(", did you mean `{near}`?")),
        known.join(", ")
    )]
    UnknownRuntime {
        /// The name as given.
        name: String,
        /// Where the selection came from.
        origin: String,
        /// The most similar known name.
        suggestion: Option<String>,
        /// Every name that would have been accepted, without aliases.
        known: Vec<String>,
    },
    /// Selected runtimes have no usable interpreter on this machine.
    #[error(
        "{origin}: {} not found on this machine: {details}; install it, or correct {origin}{}",
        names.join(", "),
        // the flag belongs to the override; what somebody configured by hand has to be there
        if origin == super::RUNTIMES_VARIABLE { ", or pass --allow-missing-runtimes" } else { "" }
    )]
    Absent {
        /// Canonical names of the absent runtimes.
        names: Vec<String>,
        /// Where the selection came from.
        origin: String,
        /// What was looked for and where, and what was turned down.
        details: String,
    },
}

impl DetectError {
    pub(super) fn absent(selection: &Selection, detection: &Detection) -> Self {
        /// Directories named in the message; the report has all of them.
        const SHOWN: usize = 6;
        let places: Vec<_> =
            detection.searched.iter().take(SHOWN).map(|place| place.display().to_string()).collect();
        let places = match detection.searched.len() {
            0 => "any directory, as none to search exists".to_owned(),
            all if all > SHOWN => format!("{} and {} more directories", places.join(", "), all - SHOWN),
            _ => places.join(", "),
        };
        let about = |name: &String| {
            let rejected = detection.rejected.iter().filter(|rejected| rejected.runtime == *name);
            let reasons: Vec<_> =
                rejected.map(|r| format!("{} rejected ({})", r.path.display(), r.reason)).collect();
            if reasons.is_empty() {
                let called = families::by_name(name).map_or(name.clone(), |family| family.usual.join(" or "));
                format!("no {called} in {places}")
            } else {
                reasons.join(", ")
            }
        };
        let details: Vec<_> = detection.missing.iter().map(about).collect();
        let origin = selection.origin().to_owned();
        Self::Absent { names: detection.missing.clone(), origin, details: details.join("; ") }
    }
}
