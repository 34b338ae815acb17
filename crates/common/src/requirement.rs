//! Requirements: what an execution needs of a worker, in one canonical text.
//!
//! The text is the identity: `python >=3.11; gpu=nvidia; tolerates dedicated=ml`. Equal requirements have equal texts, so that a
//! requirement can be a row, a queue name's source, and a line that people read.

mod taint;
mod version_range;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
pub use taint::{InvalidTaint, Taint};
pub use version_range::{InvalidVersionRange, VersionRange};

use crate::model::{runtime, worker::Capabilities};

/// Before the taints that are tolerated. A label has no blank, so that none looks like it.
const TOLERATES: &str = "tolerates ";

/// Runtime, version range and labels that a worker must have, and taints that it may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement {
    runtime: String,
    version: Option<VersionRange>,
    labels: BTreeMap<String, String>,
    tolerations: BTreeSet<Taint>,
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
    /// A toleration cannot be read.
    #[error("requirement {text:?}: {reason}")]
    Toleration {
        /// The whole text.
        text: String,
        /// What is wrong with the taint.
        reason: InvalidTaint,
    },
}

impl Requirement {
    /// A requirement of a runtime (any alias), a range of its versions, and labels, of which the taints are tolerated.
    #[must_use]
    pub fn new(
        runtime: &str,
        version: Option<VersionRange>,
        labels: BTreeMap<String, String>,
        tolerations: BTreeSet<Taint>,
    ) -> Self {
        let tolerations = taint::fewest(tolerations);
        Self { runtime: runtime::canonical_name(runtime), version, labels, tolerations }
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
        labels && runtime && self.tolerates(&capabilities.taints)
    }

    /// Whether every one of these taints is tolerated.
    #[must_use]
    pub fn tolerates<'a>(&self, taints: impl IntoIterator<Item = &'a Taint>) -> bool {
        taints.into_iter().all(|taint| self.tolerations.iter().any(|one| one.tolerates(taint)))
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
        for taint in &self.tolerations {
            write!(f, "; {TOLERATES}{taint}")?;
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
        let (mut labels, mut tolerations) = (BTreeMap::new(), BTreeSet::new());
        for part in parts {
            match part.trim_start().strip_prefix(TOLERATES) {
                Some(taint) => {
                    let fault = |reason| InvalidRequirement::Toleration { text: text.to_owned(), reason };
                    tolerations.insert(taint.parse().map_err(fault)?);
                }
                None => labels.extend([parse_label(part)?]),
            }
        }
        Ok(Self::new(name, version, labels, tolerations))
    }
}

/// Reads one `name=value` label.
pub fn parse_label(text: &str) -> Result<(String, String), InvalidRequirement> {
    match text.trim().split_once('=') {
        Some((name, value)) if is_plain(name) && is_plain(value) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(InvalidRequirement::Label(text.trim().chars().take(160).collect())),
    }
}

/// Whether a name or a value of a label or a taint needs no quotes anywhere.
fn is_plain(part: &str) -> bool {
    (1..=63).contains(&part.len())
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
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
            ("r;tolerates  b=1 ; tolerates a; x=y", "r; x=y; tolerates a; tolerates b=1"),
            ("r; tolerates a=1; tolerates a; tolerates a=2", "r; tolerates a"),
            ("r; tolerates=a", "r; tolerates=a"),
        ] {
            let requirement: Requirement = text.parse().unwrap();
            assert_eq!(requirement.to_string(), canonical);
            assert_eq!(canonical.parse::<Requirement>().unwrap(), requirement);
        }
    }

    #[test]
    fn bad_texts_say_what_is_expected() {
        let told: Vec<String> = [
            "",
            "python >=x",
            "python; gpu",
            "python; a=b c",
            "python !=3",
            "python; tolerates",
            "python; tolerates a b",
        ]
        .iter()
        .map(|text| text.parse::<Requirement>().unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        requirement "" names no runtime; such as 'python >=3.11; gpu=nvidia' is expected
        requirement "python >=x": version range ">=x" is not valid: 'x' is not a version number; such as '>=3.11, <4' is expected
        label "gpu" is not valid: name=value is expected, of letters, digits and '._-/'
        label "a=b c" is not valid: name=value is expected, of letters, digits and '._-/'
        requirement "python !=3": version range "!=3" is not valid: '!=' is not supported; such as '>=3.11, <4' is expected
        label "tolerates" is not valid: name=value is expected, of letters, digits and '._-/'
        requirement "python; tolerates a b": taint "a b" is not valid: key or key=value is expected, of letters, digits and '._-/'
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

    #[test]
    fn a_tainted_worker_takes_only_what_tolerates_all_of_its_taints() {
        for (text, taints, expected) in [
            ("python", &[][..], true),
            ("python; tolerates a", &[], true),
            ("python", &["a"], false),
            ("native", &["a"], false),
            ("python; tolerates a", &["a", "a=1"], true),
            ("python; tolerates a=1", &["a=1"], true),
            ("python; tolerates a=1", &["a=2"], false),
            ("python; tolerates a", &["a", "b"], false),
            ("python; tolerates a; tolerates b", &["a", "b=1"], true),
        ] {
            let requirement: Requirement = text.parse().unwrap();
            let mut capabilities = worker("python", &["3.11.2"], &[]);
            capabilities.taints = taints.iter().map(|taint| taint.parse().unwrap()).collect();
            assert_eq!(requirement.satisfied_by(&capabilities), expected, "{text} on {taints:?}");
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
        fn every_requirement_is_its_text(
            version in proptest::option::of("(>=|<|=)(0|[1-9][0-9]?)(\\.(0|[1-9][0-9]?))?"),
            labels in proptest::collection::btree_map("[a-z/._-]{1,3}", "[a-z0-9]{1,3}", 0..3),
            tolerations in proptest::collection::btree_set("[a-c](=[a-c])?", 0..4),
        ) {
            let version = version.map(|range| range.parse().unwrap());
            let tolerations: BTreeSet<Taint> = tolerations.iter().map(|taint| taint.parse().unwrap()).collect();
            let requirement = Requirement::new("lua", version, labels, tolerations.clone());
            prop_assert_eq!(&requirement.to_string().parse::<Requirement>().unwrap(), &requirement);
            // whatever was left out of the text as unnecessary is tolerated all the same
            prop_assert!(requirement.tolerates(&tolerations));
        }

        #[test]
        fn more_taints_never_admit_more_and_more_tolerations_never_less(
            taints in proptest::collection::btree_set("[a-c](=[a-c])?", 0..3),
            tolerations in proptest::collection::btree_set("[a-c](=[a-c])?", 0..3),
            more in "[a-c](=[a-c])?",
        ) {
            let parsed = |texts: &BTreeSet<String>| -> BTreeSet<Taint> {
                texts.iter().map(|text| text.parse().unwrap()).collect()
            };
            let (mut taints, mut tolerations) = (parsed(&taints), parsed(&tolerations));
            let admits = |taints: &BTreeSet<Taint>, tolerations: &BTreeSet<Taint>| {
                Requirement::new("lua", None, BTreeMap::new(), tolerations.clone()).tolerates(taints)
            };
            let before = admits(&taints, &tolerations);
            let more: Taint = more.parse().unwrap();
            tolerations.insert(more.clone());
            let after = admits(&taints, &tolerations);
            prop_assert!(after || !before);
            taints.insert(more);
            prop_assert_eq!(admits(&taints, &tolerations), after, "what is tolerated changes nothing");
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
