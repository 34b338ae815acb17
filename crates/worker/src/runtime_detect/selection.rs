//! The override of detection: which runtimes the worker is told to offer (`ATTUNE_WORKER_RUNTIMES`).

use super::families::{all_names, canonical_name};
use super::{DetectError, FAMILIES};

/// The environment variable with the override.
pub const RUNTIMES_VARIABLE: &str = "ATTUNE_WORKER_RUNTIMES";

/// A list of runtime names, as a person wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    names: Vec<String>,
    origin: String,
}

impl Selection {
    /// Reads a list such as `python,shell`; blanks separate as well. `origin` says in errors where the list came from.
    ///
    /// `None` when the list is empty, which means the same as no list.
    #[must_use]
    pub fn parse(list: &str, origin: &str) -> Option<Self> {
        let names: Vec<String> = list
            .split([',', ';', ' ', '\t', '\n'])
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        (!names.is_empty()).then(|| Self { names, origin: origin.to_owned() })
    }

    /// Where the list came from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The canonical names, each once, in the order of the list. `hinted` are the names that a hints file defines.
    pub(super) fn canonical(&self, hinted: &[&str]) -> Result<Vec<String>, DetectError> {
        let mut wanted = Vec::new();
        for name in &self.names {
            // first, so that a hinted `r2` is not taken for a versioned `r`
            let known = hinted
                .iter()
                .copied()
                .find(|hint| hint.eq_ignore_ascii_case(name))
                .or_else(|| canonical_name(name));
            let Some(known) = known else {
                return Err(DetectError::UnknownRuntime {
                    name: name.clone(),
                    origin: self.origin.clone(),
                    suggestion: nearest(name, all_names().chain(hinted.iter().copied())).map(str::to_owned),
                    known: FAMILIES.iter().map(|family| family.name).chain(hinted.iter().copied()).fold(
                        Vec::new(),
                        |mut all, name| {
                            if !all.iter().any(|have| have == name) {
                                all.push(name.to_owned());
                            }
                            all
                        },
                    ),
                });
            };
            if !wanted.iter().any(|have| have == known) {
                wanted.push(known.to_owned());
            }
        }
        Ok(wanted)
    }
}

/// The most similar of `known`, when it is similar enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler favours a common beginning, as people get the ends of names wrong
    const SIMILAR: f64 = 0.75;
    let lower = name.to_lowercase();
    known
        .map(|known| (strsim::jaro_winkler(&lower, known), known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(list: &str, hinted: &[&str]) -> Result<Vec<String>, String> {
        Selection::parse(list, "the test").unwrap().canonical(hinted).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_normalised_and_kept_once_in_their_order() {
        assert_eq!(
            canonical("python3, sh;bash\tNodeJS golang", &[]).unwrap(),
            ["python", "shell", "node", "go"]
        );
        assert_eq!(canonical("Lua,r", &["lua"]).unwrap(), ["lua", "r"]);
        assert_eq!(canonical("R2,R", &["r2"]).unwrap(), ["r2", "r"]);
    }

    #[test]
    fn an_empty_list_is_no_list() {
        for list in ["", " ", ",,", " , "] {
            assert_eq!(Selection::parse(list, "x"), None);
        }
    }

    #[test]
    fn unknown_names_are_errors_that_suggest() {
        insta::assert_snapshot!(
            [
                canonical("pyton", &[]),
                canonical("cobol", &[]),
                canonical("luaa", &["lua"]),
                canonical("jave", &[])
            ]
            .map(Result::unwrap_err)
            .join("\n")
        );
    }
}
