//! JSON in `jsonb`, which is text and therefore cannot hold U+0000
//! (<https://www.postgresql.org/docs/current/datatype-json.html>). An action may print it all the same, and its outcome has to
//! be recorded: it is written as a noncharacter and a digit, and so is the noncharacter itself. Whoever reads gets what was given.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::store::{Result, StoreError};

/// U+FDD0, which Unicode keeps free for the inside of programs (<https://www.unicode.org/faq/private_use.html#noncharacters>).
const ESCAPE: char = '\u{fdd0}';

/// A value as it is stored.
pub(super) fn to_stored(value: &impl Serialize) -> Result<Value> {
    let value = serde_json::to_value(value)
        .map_err(|error| StoreError::Corrupt { what: "value to be stored", reason: error.to_string() })?;
    Ok(map_texts(value, &escape))
}

/// A value from how it is stored.
pub(super) fn from_stored<T: DeserializeOwned>(what: &'static str, stored: Value) -> Result<T> {
    serde_json::from_value(map_texts(stored, &unescape))
        .map_err(|error| StoreError::Corrupt { what, reason: error.to_string() })
}

fn map_texts(value: Value, map: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(map(text)),
        Value::Array(values) => values.into_iter().map(|value| map_texts(value, map)).collect(),
        Value::Object(entries) => {
            let entries: Map<String, Value> =
                entries.into_iter().map(|(name, value)| (map(name), map_texts(value, map))).collect();
            Value::Object(entries)
        }
        other => other,
    }
}

fn escape(text: String) -> String {
    if !text.contains(['\0', ESCAPE]) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            other => escaped.push(other),
        }
    }
    escaped
}

fn unescape(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            ESCAPE => match characters.next() {
                Some('0') => plain.push('\0'),
                _ => plain.push(ESCAPE),
            },
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_stored_holds_no_nul() {
        let value = json!({"a\0b": ["\0", {"\u{fdd0}": "\u{fdd0}0"}], "plain": 1.5});
        let stored = to_stored(&value).unwrap();
        assert!(!stored.to_string().contains("\\u0000"), "{stored}");
        assert_eq!(from_stored::<Value>("value", stored).unwrap(), value);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "[\\x00\u{fdd0}01ab]{0,12}") {
            prop_assert!(!escape(text.clone()).contains('\0'));
            prop_assert_eq!(unescape(escape(text.clone())), text);
        }
    }
}
