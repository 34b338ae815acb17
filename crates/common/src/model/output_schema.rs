//! Whether a result is what its action promises.

use jsonschema::paths::LocationSegment;
use serde_json::Value;

/// Faults that are counted when a result has many.
const MAX_COUNTED: usize = 100;

/// What does not fit. The words may quote the result: whoever shows them takes secrets out first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFault {
    /// The way to the place, from the top of the document: keys, and positions in lists from 0.
    pub path: Vec<String>,
    /// What the schema says about what is there.
    pub message: String,
    /// How many other faults there are; at most 99 are counted.
    pub others: usize,
}

/// Checks a result against an action's `output_schema` (JSON Schema, draft 2020-12 unless it says otherwise).
///
/// # Errors
/// The first fault. A schema that is none is a fault of the whole document.
pub fn check_output(schema: &Value, result: &Value) -> Result<(), OutputFault> {
    let validator = jsonschema::validator_for(schema).map_err(|error| OutputFault {
        path: Vec::new(),
        message: format!("the schema itself is wrong: {error}"),
        others: 0,
    })?;
    let mut errors = validator.iter_errors(result);
    let Some(first) = errors.next() else { return Ok(()) };
    let path = first.instance_path().iter().map(|segment| match segment {
        LocationSegment::Property(name) => name.into_owned(),
        LocationSegment::Index(position) => position.to_string(),
    });
    let path = path.collect();
    Err(OutputFault { path, message: first.to_string(), others: errors.take(MAX_COUNTED - 1).count() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let schema = json!({
            "type": "object",
            "required": ["items"],
            "properties": {"items": {"type": "array", "items": {"properties": {"a/b": {"type": "integer"}}}}},
        });
        assert_eq!(check_output(&schema, &json!({"items": [{"a/b": 1}, {}]})), Ok(()));
        let fault = |result| check_output(&schema, &result).unwrap_err();
        assert_eq!(
            fault(json!({"items": [{}, {"a/b": "x"}, {"a/b": 1.5}]})),
            OutputFault {
                path: vec!["items".to_owned(), "1".to_owned(), "a/b".to_owned()],
                message: "\"x\" is not of type \"integer\"".to_owned(),
                others: 1,
            }
        );
        assert_eq!(
            fault(json!({})),
            OutputFault { path: vec![], message: "\"items\" is a required property".to_owned(), others: 0 }
        );
        assert!(check_output(&json!({"type": 1}), &json!({})).unwrap_err().message.contains("schema"));
    }
}
