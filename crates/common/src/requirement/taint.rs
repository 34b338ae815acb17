//! Taints keep work away from a worker, except what tolerates them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::is_plain;

/// A taint of a worker, or what tolerates it: `dedicated` or `dedicated=ml`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Taint {
    key: String,
    value: Option<String>,
}

/// Why a text is not a taint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("taint {0:?} is not valid: key or key=value is expected, of letters, digits and '._-/'")]
pub struct InvalidTaint(String);

impl Taint {
    /// Whether this, as a toleration, tolerates a taint: the same one, or, without a value, every one of its key.
    #[must_use]
    pub fn tolerates(&self, taint: &Self) -> bool {
        self.key == taint.key && (self.value.is_none() || self.value == taint.value)
    }
}

/// The fewest tolerations that tolerate the same: `dedicated` makes `dedicated=ml` unnecessary.
pub(super) fn fewest(mut tolerations: BTreeSet<Taint>) -> BTreeSet<Taint> {
    let keys: Vec<Taint> = tolerations.iter().filter(|one| one.value.is_none()).cloned().collect();
    tolerations.retain(|one| keys.iter().all(|key| key == one || !key.tolerates(one)));
    tolerations
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        match &self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Taint {
    type Err = InvalidTaint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        if !is_plain(key) || !value.is_none_or(is_plain) {
            return Err(InvalidTaint(text.chars().take(160).collect()));
        }
        Ok(Self { key: key.to_owned(), value: value.map(str::to_owned) })
    }
}

impl TryFrom<String> for Taint {
    type Error = InvalidTaint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Taint> for String {
    fn from(taint: Taint) -> Self {
        taint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_without_a_value_tolerates_every_value() {
        for (toleration, taint, expected) in [
            ("dedicated", "dedicated", true),
            ("dedicated", "dedicated=ml", true),
            ("dedicated=ml", "dedicated=ml", true),
            ("dedicated=ml", "dedicated=web", false),
            ("dedicated=ml", "dedicated", false),
            ("dedicated", "dedicate", false),
        ] {
            let [toleration, taint] = [toleration, taint].map(|text| text.parse::<Taint>().unwrap());
            assert_eq!(toleration.tolerates(&taint), expected, "{toleration} and {taint}");
        }
    }

    #[test]
    fn bad_texts_say_what_is_expected() {
        let told: Vec<String> = ["", "=ml", "dedicated=", "a b", "a=b=c", "a;b"]
            .iter()
            .map(|text| text.parse::<Taint>().unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
