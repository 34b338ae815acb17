//! Which texts have to be hidden.

use std::collections::BTreeSet;

use attune_common::model::{ParameterSchema, Parameters};
use serde_json::Value;

use super::RedactError;

/// Fewest characters of a text that is masked: shorter ones occur everywhere by chance, and masking them would make
/// the log unreadable and tell where they are.
pub(super) const MIN_CHARACTERS: usize = 6;

/// Largest secret values of one execution together, in bytes. A key in PEM is searched in fifty forms.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// What has to be hidden, and what cannot be.
#[derive(Default)]
pub(super) struct Secrets {
    /// Texts to mask.
    pub(super) texts: BTreeSet<String>,
    /// Names of parameters with a value, or a part of one, that is too short.
    pub(super) short: Vec<String>,
    /// Size of all values together.
    pub(super) bytes: usize,
}

/// Every text and number within the secret parameters.
pub(super) fn collect(schema: &ParameterSchema, parameters: &Parameters) -> Result<Secrets, RedactError> {
    let mut secrets = Secrets::default();
    for name in schema.secrets() {
        let Some(value) = parameters.0.get(name) else { continue };
        let mut leaves = Vec::new();
        find_leaves(value, &mut leaves);
        secrets.bytes += leaves.iter().map(String::len).sum::<usize>();
        if secrets.bytes > MAX_BYTES {
            continue;
        }
        let mut all_masked = true;
        for leaf in &leaves {
            all_masked &= secrets.add(leaf);
            // credentials are often handed over as a JSON file: what is in it is as secret as the whole
            if leaf.trim_start().starts_with(['{', '['])
                && let Ok(document) = serde_json::from_str(leaf)
            {
                let mut inner = Vec::new();
                find_leaves(&document, &mut inner);
                for leaf in &inner {
                    all_masked &= secrets.add(leaf);
                }
            }
        }
        if !all_masked {
            secrets.short.push(name.to_owned());
        }
    }
    if secrets.bytes > MAX_BYTES { Err(RedactError::TooLarge { bytes: secrets.bytes }) } else { Ok(secrets) }
}

fn find_leaves(value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::String(text) => leaves.push(text.clone()),
        Value::Number(number) => leaves.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| find_leaves(item, leaves)),
        Value::Object(entries) => entries.values().for_each(|entry| find_leaves(entry, leaves)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_short(text: &str) -> bool {
    text.trim().chars().count() < MIN_CHARACTERS
}

impl Secrets {
    /// The text as it is, without the space around it (a shell drops the last line end), and every line of it. Returns whether
    /// all of these are long enough; of lines, brackets and the like do not matter.
    fn add(&mut self, text: &str) -> bool {
        let mut all_masked = text.is_empty() || !is_short(text);
        for part in [text, text.trim()].into_iter().chain(text.lines().map(str::trim)) {
            if is_short(part) {
                all_masked &= !part.chars().any(char::is_alphanumeric);
            } else {
                self.texts.insert(part.to_owned());
            }
        }
        all_masked
    }
}
