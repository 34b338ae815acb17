//! What an action may be given, and what it was given.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Largest parameter set of one execution, in bytes of JSON.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Most unknown names that are told at once.
const MAX_UNKNOWN_NAMED: usize = 20;

/// One parameter of an action: JSON Schema keywords (draft 2020-12) plus `required` and `secret`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Whether it must be given.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Whether its value is kept out of everything that people see.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
    /// The other keywords, `default` among them.
    #[serde(flatten)]
    pub schema: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The parameters that an action declares, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParameterSchema(BTreeMap<String, Parameter>);

/// Why parameters are refused. Values of secret parameters never appear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterFault {
    /// A required parameter was not given.
    #[error("parameter '{name}' is required{hint}")]
    Missing {
        /// Its name.
        name: String,
        /// Its description, as ` (…)`, or nothing.
        hint: String,
    },
    /// The action has no parameter of this name.
    #[error("there is no parameter '{name}'; {known}")]
    Unknown {
        /// The name that was given.
        name: String,
        /// What could be meant.
        known: String,
    },
    /// The value does not fit the parameter's schema.
    #[error("parameter '{name}': {message}")]
    Invalid {
        /// Its name.
        name: String,
        /// What the schema says about the value.
        message: String,
    },
    /// The parameters are too large together.
    #[error("parameters take {bytes} bytes as JSON, more than the limit of {MAX_BYTES}")]
    TooLarge {
        /// Their size.
        bytes: usize,
    },
}

impl ParameterSchema {
    /// Every declared parameter with its name, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// The parameter of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.get(name)
    }

    /// Names of the secret parameters.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(_, parameter)| parameter.secret).map(|(name, _)| name)
    }

    /// Checks the schema itself: names, that no two of them become one variable, keywords, and that every default fits.
    ///
    /// # Errors
    /// A text naming the parameter at fault.
    pub fn check(&self) -> Result<(), String> {
        let mut variables = BTreeMap::new();
        for (name, parameter) in &self.0 {
            let plain = name.len() <= 128
                && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if !plain {
                return Err(format!(
                    "parameter {name:?}: a name has at most 128 letters, digits, '_' and '-' and starts with a letter"
                ));
            }
            if let Some(other) = variables.insert(parameter_variable(name), name) {
                return Err(format!(
                    "parameters '{other}' and '{name}' would both be the variable {}: rename one of them",
                    parameter_variable(name)
                ));
            }
            let schema = Value::Object(parameter.schema.clone());
            jsonschema::validator_for(&schema)
                .map_err(|e| format!("parameter '{name}' has a bad schema: {e}"))?;
            if let Some(default) = parameter.schema.get("default")
                && let Err(message) = check_value(parameter, default)
            {
                return Err(format!("the default of parameter '{name}' does not fit: {message}"));
            }
        }
        Ok(())
    }

    /// Fills in defaults and checks everything that was given.
    ///
    /// # Errors
    /// Every fault, not only the first.
    pub fn resolve(&self, mut given: Map<String, Value>) -> Result<Parameters, Vec<ParameterFault>> {
        let mut faults = Vec::new();
        let mut resolved = Map::new();
        for (name, parameter) in &self.0 {
            match given.remove(name).or_else(|| parameter.schema.get("default").cloned()) {
                Some(value) => {
                    if let Err(message) = check_value(parameter, &value) {
                        faults.push(ParameterFault::Invalid { name: name.clone(), message });
                    }
                    resolved.insert(name.clone(), value);
                }
                None if parameter.required => {
                    let description = parameter.schema.get("description").and_then(Value::as_str);
                    let hint = description.map(|text| format!(" ({text})")).unwrap_or_default();
                    faults.push(ParameterFault::Missing { name: name.clone(), hint });
                }
                None => {}
            }
        }
        // what is left is known to nobody; a few of many are enough to see what went wrong
        for (name, _) in given.into_iter().take(MAX_UNKNOWN_NAMED) {
            let known = self.nearest(&name);
            faults.push(ParameterFault::Unknown { name, known });
        }
        let resolved = Parameters(resolved);
        let bytes = serde_json::to_vec(&resolved).map_or(0, |json| json.len());
        if bytes > MAX_BYTES {
            faults.push(ParameterFault::TooLarge { bytes });
        }
        if faults.is_empty() { Ok(resolved) } else { Err(faults) }
    }

    fn nearest(&self, name: &str) -> String {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        match crate::config::nearest(name, names.iter().copied()) {
            Some(near) => format!("is '{near}' meant?"),
            None if names.is_empty() => "the action takes none".to_owned(),
            None => format!("the action takes {}", names.join(", ")),
        }
    }
}

/// The variable that a parameter of this name is handed over in: variables have no `-`, and are in capitals by custom.
#[must_use]
pub fn parameter_variable(name: &str) -> String {
    format!("ATTUNE_ACTION_{}", name.to_uppercase().replace('-', "_"))
}

/// Checks one value against the parameter's schema.
fn check_value(parameter: &Parameter, value: &Value) -> Result<(), String> {
    let validator =
        jsonschema::validator_for(&Value::Object(parameter.schema.clone())).map_err(|e| e.to_string())?;
    let Some(error) = validator.iter_errors(value).next() else { return Ok(()) };
    let at = error.instance_path().to_string();
    let message =
        if parameter.secret { error.masked_with("the secret value").to_string() } else { error.to_string() };
    let mut message: String = message.chars().take(300).collect();
    if !at.is_empty() {
        message = format!("at {at}: {message}");
    }
    Err(message)
}

/// Parameters of an execution. `Debug` shows names only: values may be secret.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(pub Map<String, Value>);

impl Parameters {
    /// What stands for a secret value wherever people can see it.
    pub const MASK: &str = "********";

    /// The parameters with every secret value replaced.
    #[must_use]
    pub fn masked(&self, schema: &ParameterSchema) -> Map<String, Value> {
        let mut shown = self.0.clone();
        for name in schema.secrets() {
            if let Some(value) = shown.get_mut(name) {
                *value = Value::from(Self::MASK);
            }
        }
        shown
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ParameterSchema {
        serde_json::from_value(json!({
            "path": {"type": "string", "required": true, "description": "what to read"},
            "count": {"type": "integer", "minimum": 1, "default": 3},
            "token": {"type": "string", "secret": true, "minLength": 8},
        }))
        .unwrap()
    }

    fn faults(given: Value) -> String {
        let Value::Object(given) = given else { panic!("an object") };
        let faults = schema().resolve(given).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn defaults_are_filled_in() {
        let Value::Object(given) = json!({"path": "a"}) else { unreachable!() };
        let resolved = schema().resolve(given).unwrap();
        assert_eq!(Value::Object(resolved.0), json!({"path": "a", "count": 3}));
    }

    #[test]
    fn every_fault_is_named() {
        insta::assert_snapshot!(faults(json!({"cuont": 1, "count": "many"})), @r#"
        parameter 'count': "many" is not of type "integer"
        parameter 'path' is required (what to read)
        there is no parameter 'cuont'; is 'count' meant?
        "#);
        insta::assert_snapshot!(faults(json!({"path": "a", "count": 0, "zzz": 1})), @"
        parameter 'count': 0 is less than the minimum of 1
        there is no parameter 'zzz'; the action takes count, path, token
        ");
    }

    #[test]
    fn secret_values_stay_out_of_errors_and_debug_output() {
        let told = faults(json!({"path": "a", "token": "hunter2"}));
        insta::assert_snapshot!(told, @"parameter 'token': the secret value is shorter than 8 characters");
        let Value::Object(given) = json!({"path": "a", "token": "correct horse"}) else { unreachable!() };
        let resolved = schema().resolve(given).unwrap();
        assert_eq!(format!("{resolved:?}"), r#"{"count", "path", "token"}"#);
        assert_eq!(resolved.masked(&schema())["token"], Parameters::MASK);
    }

    #[test]
    fn a_default_must_fit_its_own_schema() {
        let schema: ParameterSchema =
            serde_json::from_value(json!({"n": {"type": "integer", "default": "x"}})).unwrap();
        insta::assert_snapshot!(schema.check().unwrap_err(), @r#"the default of parameter 'n' does not fit: "x" is not of type "integer""#);
    }

    #[test]
    fn no_two_parameters_are_one_variable() {
        let schema: ParameterSchema = serde_json::from_value(json!({"dry-run": {}, "Dry_run": {}})).unwrap();
        insta::assert_snapshot!(schema.check().unwrap_err(), @"parameters 'Dry_run' and 'dry-run' would both be the variable ATTUNE_ACTION_DRY_RUN: rename one of them");
    }
}
