//! Parameters on their way into a process: as JSON, dotenv lines or YAML; on standard input, as variables or in a file.

use std::ffi::OsString;

use attune_common::model::{ParameterDelivery, ParameterFormat, Parameters, parameter_variable};
use serde_json::Value;

/// Parameters, ready to be handed over.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Write these bytes to standard input and close it.
    Stdin(Vec<u8>),
    /// Set these variables.
    Environment(Vec<(OsString, OsString)>),
    /// Write these bytes to a private file and name it in `ATTUNE_PARAMETERS_FILE`.
    File(Vec<u8>),
}

/// Why parameters cannot be handed over. Values never appear.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// Neither variables nor shells can carry a NUL, and the strings of several languages end at it: what survives must
    /// not depend on the way.
    #[error(
        "parameter '{0}' contains a NUL character, which most languages and no variable can carry: \
         encode it, as in base64"
    )]
    Nul(String),
    /// YAML could not be written.
    #[error("parameters cannot be written as YAML: {0}")]
    Yaml(String),
    /// The kernel limits one variable to 128 KiB (execve(2), `MAX_ARG_STRLEN`).
    #[error(
        "parameter '{0}' is larger than the 128 KiB that an environment variable can carry: use stdin or a file"
    )]
    VariableTooLarge(String),
}

/// Largest variable, `NAME=value` and its end, in bytes: `MAX_ARG_STRLEN` in execve(2).
const MAX_VARIABLE_BYTES: usize = 128 * 1024;

/// Prepares parameters for an action.
///
/// # Errors
/// When a value cannot be carried by the chosen way.
pub fn deliver(
    parameters: &Parameters,
    how: ParameterDelivery,
    format: ParameterFormat,
) -> Result<Delivery, ParameterError> {
    if let Some((name, _)) = parameters.0.iter().find(|(_, value)| contains_nul(value)) {
        return Err(ParameterError::Nul(name.clone()));
    }
    Ok(match how {
        ParameterDelivery::Stdin => Delivery::Stdin(write(parameters, format)?),
        ParameterDelivery::File => Delivery::File(write(parameters, format)?),
        ParameterDelivery::Env => Delivery::Environment(variables(parameters)?),
    })
}

fn write(parameters: &Parameters, format: ParameterFormat) -> Result<Vec<u8>, ParameterError> {
    let text = match format {
        ParameterFormat::Json => format!("{}\n", Value::Object(parameters.0.clone())),
        ParameterFormat::Yaml => {
            serde_saphyr::to_string(&parameters.0).map_err(|e| ParameterError::Yaml(e.to_string()))?
        }
        ParameterFormat::Dotenv => {
            let line = |(name, value): (&String, &Value)| {
                let value = plain_text(value).replace('\'', r"'\''");
                format!("{}='{value}'\n", name.replace('-', "_"))
            };
            parameters.0.iter().map(line).collect()
        }
    };
    Ok(text.into_bytes())
}

fn variables(parameters: &Parameters) -> Result<Vec<(OsString, OsString)>, ParameterError> {
    let mut variables = Vec::with_capacity(parameters.0.len());
    for (name, value) in &parameters.0 {
        let variable = parameter_variable(name);
        let value = plain_text(value);
        if variable.len() + value.len() + 2 > MAX_VARIABLE_BYTES {
            return Err(ParameterError::VariableTooLarge(name.clone()));
        }
        variables.push((variable.into(), value.into()));
    }
    Ok(variables)
}

/// Texts as they are, everything else as JSON.
fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(contains_nul),
        Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || contains_nul(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(value: Value) -> Parameters {
        let Value::Object(map) = value else { panic!("an object") };
        Parameters(map)
    }

    fn stdin(value: Value, format: ParameterFormat) -> String {
        match deliver(&parameters(value), ParameterDelivery::Stdin, format).unwrap() {
            Delivery::Stdin(bytes) => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_format_keeps_odd_values() {
        let odd = json!({"quote": "it's \"here\"", "lines": "a\nb", "emoji": "🦀", "list": [1, "x"], "none": null, "with-dash": true});
        insta::assert_snapshot!(stdin(odd.clone(), ParameterFormat::Dotenv), @r#"
        emoji='🦀'
        lines='a
        b'
        list='[1,"x"]'
        none='null'
        quote='it'\''s "here"'
        with_dash='true'
        "#);
        let from_json: Value = serde_json::from_str(&stdin(odd.clone(), ParameterFormat::Json)).unwrap();
        let from_yaml: Value = serde_saphyr::from_str(&stdin(odd.clone(), ParameterFormat::Yaml)).unwrap();
        assert_eq!((&from_json, &from_yaml), (&odd, &odd));
    }

    #[test]
    fn texts_that_yaml_could_take_for_something_else_are_quoted() {
        let texts = json!({"a": "no", "b": "1", "c": "null", "d": "0x10", "e": "2026-11-23", "f": "~", "g": "1e3", "h": " x"});
        insta::assert_snapshot!(stdin(texts, ParameterFormat::Yaml), @r#"
        a: "no"
        b: "1"
        c: "null"
        d: "0x10"
        e: "2026-11-23"
        f: "~"
        g: "1e3"
        h: " x"
        "#);
    }

    #[test]
    fn variables_have_a_prefix() {
        let delivery =
            deliver(&parameters(json!({"dry-run": true})), ParameterDelivery::Env, ParameterFormat::Json)
                .unwrap();
        assert_eq!(delivery, Delivery::Environment(vec![("ATTUNE_ACTION_DRY_RUN".into(), "true".into())]));
    }

    #[test]
    fn what_cannot_be_carried_is_refused_without_showing_it() {
        let told: Vec<String> = [
            deliver(&parameters(json!({"a": ["s3cret\0"]})), ParameterDelivery::Stdin, ParameterFormat::Json),
            deliver(
                &parameters(json!({"a": "s".repeat(200_000)})),
                ParameterDelivery::Env,
                ParameterFormat::Json,
            ),
        ]
        .into_iter()
        .map(|result| result.unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(told.join("\n"), @"
        parameter 'a' contains a NUL character, which most languages and no variable can carry: encode it, as in base64
        parameter 'a' is larger than the 128 KiB that an environment variable can carry: use stdin or a file
        ");
    }
}
