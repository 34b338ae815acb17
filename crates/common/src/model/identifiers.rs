//! Names and ids. A value of these types has been checked; everything behind them may rely on its form.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct InvalidName {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! time_ordered_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id. Ids made later sort later (UUID version 7, RFC 9562 section 5.7).
            #[must_use]
            #[expect(clippy::new_without_default, reason = "two defaults would differ")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidName {
                    kind: $kind,
                    text: text.chars().take(80).collect(),
                    rule: "a UUID is expected, such as 0190163d-8694-739b-aea5-966c26f8ad91",
                })
            }
        }
    };
}

time_ordered_id!(
    /// One requested run of an action.
    ExecutionId,
    "execution id"
);
time_ordered_id!(
    /// One start of a worker process: a restarted worker has a new id.
    WorkerId,
    "worker id"
);

/// The name of an action in its pack: `pack.name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActionRef {
    pack: String,
    name: String,
}

impl ActionRef {
    /// The pack's part of the name.
    #[must_use]
    pub fn pack(&self) -> &str {
        &self.pack
    }

    /// The action's name within its pack.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ActionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pack, self.name)
    }
}

impl From<ActionRef> for String {
    fn from(value: ActionRef) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for ActionRef {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for ActionRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((pack, name)) if is_plain_name(pack) && is_plain_name(name) => {
                Ok(Self { pack: pack.to_owned(), name: name.to_owned() })
            }
            _ => Err(InvalidName {
                kind: "action ref",
                text: text.chars().take(80).collect(),
                rule: "PACK.NAME is expected, each of lower-case letters, digits, '_' and '-'",
            }),
        }
    }
}

/// Checks the name of a pack.
pub fn check_pack_ref(text: &str) -> Result<(), InvalidName> {
    if is_plain_name(text) {
        return Ok(());
    }
    Err(InvalidName {
        kind: "pack ref",
        text: text.chars().take(80).collect(),
        rule: "1 to 64 lower-case letters, digits, '_' and '-' are expected",
    })
}

/// Whether a text can stand in refs, file names, URLs and queue names without quoting.
#[must_use]
pub fn is_plain_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_a_pack_and_a_name() {
        for good in ["examples.tour", "a.b", "my-pack.do_it2"] {
            assert_eq!(good.parse::<ActionRef>().unwrap().to_string(), good);
        }
        for bad in ["", "tour", ".tour", "examples.", "a.b.c", "A.b", "../x.y", "a/b.c", "ä.b", "-a.b"] {
            assert!(bad.parse::<ActionRef>().is_err(), "{bad:?} must be refused");
        }
        assert!(format!("{}.x", "p".repeat(65)).parse::<ActionRef>().is_err());
    }

    #[test]
    fn ids_are_ordered_by_time_and_survive_text() {
        let (first, second) = (ExecutionId::new(), ExecutionId::new());
        assert!(first < second);
        assert_eq!(first.to_string().parse::<ExecutionId>().unwrap(), first);
        insta::assert_snapshot!("nonsense".parse::<ExecutionId>().unwrap_err(), @r#"execution id "nonsense" is not valid: a UUID is expected, such as 0190163d-8694-739b-aea5-966c26f8ad91"#);
    }
}
