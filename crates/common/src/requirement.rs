//! Requirements: what an execution needs of a worker, in one canonical text.
//!
//! The text is the identity: `python >=3.11; gpu=nvidia`. Equal requirements have equal texts, so that a requirement
//! can be a row, a queue name's source, and a line that people read.

mod version_range;

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
pub use version_range::{InvalidVersionRange, VersionRange};

use crate::model::{runtime, worker::Capabilities};

/// Runtime, version range and labels that a worker must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement {
    runtime: String,
    version: Option<VersionRange>,
    labels: BTreeMap<String, String>,
}

/// Why a text is not a requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequirement {
    /// No runtime is named.
    #[error("requirement {0:?} names no runtime; such as 'python >=3.11; gpu=nvidia' is expected")]
    NoRuntime(String),
    /// The version range cannot be read.
    #[error("requirement {text:?}: {reason}")]
    Version {
        /// The whole text.
        text: String,
        /// What is wrong with the range.
        reason: InvalidVersionRange,
    },
    /// A label cannot be read.
    #[error("label {0:?} is not valid: name=value is expected, of letters, digits and '._-/'")]
    Label(String),
}

impl Requirement {
    /// A requirement of a runtime (any alias), a range of its versions, and labels.
    #[must_use]
    pub fn new(runtime: &str, version: Option<VersionRange>, labels: BTreeMap<String, String>) -> Self {
        Self { runtime: runtime::canonical_name(runtime), version, labels }
    }

    /// Canonical name of the runtime.
    #[must_use]
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// The range of versions, if any will not do.
    #[must_use]
    pub fn version(&self) -> Option<&VersionRange> {
        self.version.as_ref()
    }

    /// Whether an interpreter of this version will do. One that does not tell its version satisfies no range.
    #[must_use]
    pub fn accepts_version(&self, version: Option<&semver::Version>) -> bool {
        match (&self.version, version) {
            (None, _) => true,
            (Some(range), Some(version)) => range.contains(version),
            (Some(_), None) => false,
        }
    }

    /// Whether a worker with these capabilities can run it.
    #[must_use]
    pub fn satisfied_by(&self, capabilities: &Capabilities) -> bool {
        let labels = self.labels.iter().all(|(name, value)| capabilities.labels.get(name) == Some(value));
        let runtime = self.runtime == runtime::NATIVE
            || capabilities.runtimes.iter().filter(|offered| offered.name == self.runtime).any(|offered| {
                offered
                    .interpreters
                    .iter()
                    .any(|interpreter| self.accepts_version(interpreter.version.as_ref()))
            });
        labels && runtime
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.runtime)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        for (name, value) in &self.labels {
            write!(f, "; {name}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Requirement {
    type Err = InvalidRequirement;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(';');
        let head = parts.next().unwrap_or_default().trim();
        let (name, range) = head.split_once(char::is_whitespace).unwrap_or((head, ""));
        if name.is_empty() {
            return Err(InvalidRequirement::NoRuntime(text.to_owned()));
        }
        let version = match range.trim() {
            "" => None,
            range => Some(
                range
                    .parse()
                    .map_err(|reason| InvalidRequirement::Version { text: text.to_owned(), reason })?,
            ),
        };
        let labels = parts.map(parse_label).collect::<Result<_, _>>()?;
        Ok(Self::new(name, version, labels))
    }
}

/// Reads one `name=value` label.
pub fn parse_label(text: &str) -> Result<(String, String), InvalidRequirement> {
    let plain = |part: &str| {
        (1..=63).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
    };
    match text.trim().split_once('=') {
        Some((name, value)) if plain(name) && plain(value) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(InvalidRequirement::Label(text.trim().chars().take(160).collect())),
    }
}

impl TryFrom<String> for Requirement {
    type Error = InvalidRequirement;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        requirement.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::worker::{InterpreterCapability, RuntimeCapability};

    fn worker(runtime: &str, versions: &[&str], labels: &[(&str, &str)]) -> Capabilities {
        let interpreters = versions
            .iter()
            .map(|version| InterpreterCapability {
                path: format!("/usr/bin/{runtime}"),
                version: (!version.is_empty()).then(|| version.parse().unwrap()),
            })
            .collect();
        Capabilities {
            runtimes: vec![RuntimeCapability { name: runtime.to_owned(), interpreters }],
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Capabilities::default()
        }
    }

    #[test]
    fn texts_become_canonical() {
        for (text, canonical) in [
            ("python", "python"),
            (" Python3  >= 3.11 ", "python >=3.11"),
            ("nodejs >=18,<23", "node >=18, <23"),
            ("python ==3.11", "python =3.11"),
            ("ruby 3.1; zone=b; gpu=nvidia", "ruby =3.1; gpu=nvidia; zone=b"),
            ("deno", "deno"),
        ] {
            let requirement: Requirement = text.parse().unwrap();
            assert_eq!(requirement.to_string(), canonical);
            assert_eq!(canonical.parse::<Requirement>().unwrap(), requirement);
        }
    }

    #[test]
    fn bad_texts_say_what_is_expected() {
        let told: Vec<String> = ["", "python >=x", "python; gpu", "python; a=b c", "python !=3"]
            .iter()
            .map(|text| text.parse::<Requirement>().unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        requirement "" names no runtime; such as 'python >=3.11; gpu=nvidia' is expected
        requirement "python >=x": version range ">=x" is not valid: 'x' is not a version number; such as '>=3.11, <4' is expected
        label "gpu" is not valid: name=value is expected, of letters, digits and '._-/'
        label "a=b c" is not valid: name=value is expected, of letters, digits and '._-/'
        requirement "python !=3": version range "!=3" is not valid: '!=' is not supported; such as '>=3.11, <4' is expected
        "#);
    }

    #[test]
    fn a_worker_satisfies_what_it_has() {
        for (text, capabilities, expected) in [
            ("python", worker("python", &["3.11.2"], &[]), true),
            ("python", worker("python", &[""], &[]), true),
            ("python >=3.11", worker("python", &[""], &[]), false),
            ("python >=3.11", worker("python", &["3.9.2", "3.12.0"], &[]), true),
            ("python >=3.13", worker("python", &["3.9.2", "3.12.0"], &[]), false),
            ("node", worker("python", &["3.11.2"], &[]), false),
            ("native", worker("python", &["3.11.2"], &[]), true),
            ("python; gpu=nvidia", worker("python", &["3.11.2"], &[("gpu", "nvidia")]), true),
            ("python; gpu=nvidia", worker("python", &["3.11.2"], &[("gpu", "amd")]), false),
            ("native; gpu=nvidia", worker("python", &["3.11.2"], &[]), false),
        ] {
            let requirement: Requirement = text.parse().unwrap();
            assert_eq!(requirement.satisfied_by(&capabilities), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_canonical_texts_are_stable(text in "\\PC{0,60}") {
            if let Ok(requirement) = text.parse::<Requirement>() {
                let canonical = requirement.to_string();
                prop_assert_eq!(canonical.parse::<Requirement>().unwrap().to_string(), canonical);
            }
        }

        #[test]
        fn a_higher_version_satisfies_every_lower_bound_that_a_lower_one_does(
            bound in (0u64..40, 0u64..40), low in (0u64..40, 0u64..40, 0u64..40), step in 0u64..5,
        ) {
            let requirement: Requirement = format!("python >={}.{}", bound.0, bound.1).parse().unwrap();
            let lower = semver::Version::new(low.0, low.1, low.2);
            let higher = semver::Version::new(low.0, low.1 + step, low.2);
            prop_assert!(!requirement.accepts_version(Some(&lower)) || requirement.accepts_version(Some(&higher)));
        }
    }
}
