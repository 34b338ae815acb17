//! Parameters from the command line, in the types that the action declares.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use attune_common::model::parameters::MAX_BYTES;
use clap::Args;
use serde_json::{Map, Value};

use crate::exit::BadInput;

/// How parameters are given.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Parameters")]
pub(crate) struct ParameterArguments {
    /// Parameter of the action; @FILE takes the value from a file, @@ begins a value with one @
    ///
    /// The declared type decides how VALUE is read: text stays as it is, everything else is JSON.
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) params: Vec<(String, String)>,

    /// Parameter of the action as JSON, whatever its declared type
    #[arg(long = "param-json", value_name = "NAME=JSON", value_parser = pair)]
    pub(crate) json: Vec<(String, String)>,

    /// File with all parameters as one JSON or YAML mapping, - for standard input; single ones win over it
    #[arg(long = "params-file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

impl ParameterArguments {
    /// Whether none is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.params.is_empty() && self.json.is_empty() && self.file.is_none()
    }

    /// The parameters, by what the action declares. Whether they fit is the API's to decide.
    pub(crate) fn collect(&self, declared: &Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
        let mut given = match &self.file {
            Some(path) => read_all(path)?,
            None => Map::new(),
        };
        let mut named = Map::new();
        for (name, text) in &self.params {
            let value = coerce(name, text, declared.get(name))?;
            insert_once(&mut named, name, value)?;
        }
        for (name, text) in &self.json {
            let declaration = Declaration::of(declared.get(name));
            let value = serde_json::from_str(text).map_err(|_| declaration.fault(name, text, "JSON"))?;
            insert_once(&mut named, name, value)?;
        }
        given.append(&mut named);
        Ok(given)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        // the text is not repeated: it may be a secret's
        _ => Err("NAME=VALUE is expected".to_owned()),
    }
}

fn insert_once(named: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), BadInput> {
    match named.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(BadInput(format!("parameter '{name}' is given twice"))),
    }
}

/// What matters here of a declared parameter.
struct Declaration<'a> {
    types: Vec<&'a str>,
    secret: bool,
}

impl<'a> Declaration<'a> {
    fn of(declared: Option<&'a Value>) -> Self {
        let keyword = |name: &str| declared.and_then(|keywords| keywords.get(name));
        let types = match keyword("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        Self { types, secret: keyword("secret") == Some(&Value::Bool(true)) }
    }

    /// Text is the type of what declares none, and of names that the API will refuse.
    fn is_text(&self) -> bool {
        self.types.is_empty() || self.types.contains(&"string")
    }

    fn fault(&self, name: &str, text: &str, expected: &str) -> BadInput {
        let shown = if self.secret { "the value given".to_owned() } else { format!("{:?}", shortened(text)) };
        BadInput(format!("parameter '{name}': {shown} is not {expected}"))
    }
}

fn coerce(name: &str, given: &str, declared: Option<&Value>) -> anyhow::Result<Value> {
    let declaration = Declaration::of(declared);
    let from_file;
    let text = match given.strip_prefix('@') {
        None => given,
        Some(rest) if rest.starts_with('@') => rest,
        Some(path) => {
            from_file = read(Path::new(path)).map_err(|error| {
                let message = format!("parameter '{name}': cannot read the file {path}");
                anyhow::Error::from(error).context(BadInput(message))
            })?;
            from_file.as_str()
        }
    };
    if declaration.is_text() {
        return Ok(Value::from(text));
    }
    let value = serde_json::from_str::<Value>(text.trim()).ok();
    let fits = |value: &Value| declaration.types.iter().any(|name| is_of_type(value, name));
    value.filter(fits).ok_or_else(|| declaration.fault(name, text, &expected(&declaration.types)).into())
}

/// Whether a value has a JSON Schema type.
fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        // JSON Schema counts 2.0 as an integer
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn expected(types: &[&str]) -> String {
    let words: Vec<String> = types
        .iter()
        .map(|name| match *name {
            "integer" => "an integer, such as 5".to_owned(),
            "number" => "a number, such as 1.5".to_owned(),
            "boolean" => "a boolean: true or false".to_owned(),
            "array" => "an array, such as '[1, 2]' or '[\"a\", \"b\"]'".to_owned(),
            "object" => "an object, such as '{\"key\": \"value\"}'".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    words.join(", or ")
}

fn shortened(text: &str) -> String {
    let mut letters = text.chars();
    let mut shown: String = letters.by_ref().take(60).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Reads a parameter file, which may hold secrets: messages never quote it.
fn read_all(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let (text, name) = if path == Path::new("-") {
        (read_bounded(io::stdin().lock()), "standard input".to_owned())
    } else {
        (read(path), path.display().to_string())
    };
    let text = text.map_err(|error| {
        anyhow::Error::from(error).context(BadInput(format!("cannot read parameters from {name}")))
    })?;
    // JSON is YAML, but large JSON is read much faster as what it is
    if let Ok(Value::Object(parameters)) = serde_json::from_str(&text) {
        return Ok(parameters);
    }
    attune_common::yaml::parse(&text).map_err(|fault| {
        BadInput(format!("parameters from {name} are no JSON or YAML mapping: {fault}")).into()
    })
}

fn read(path: &Path) -> io::Result<String> {
    read_bounded(File::open(path)?)
}

fn read_bounded(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {MAX_BYTES} bytes"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared() -> Map<String, Value> {
        let declared = json!({
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "ratio": {"type": "number"},
            "flag": {"type": "boolean"},
            "list": {"type": "array"},
            "map": {"type": "object"},
            "either": {"type": ["integer", "null"]},
            "loose": {"type": ["string", "integer"]},
            "free": {},
            "pin": {"type": "integer", "secret": true},
        });
        declared.as_object().unwrap().clone()
    }

    fn given(params: &[&str], json: &[&str]) -> anyhow::Result<Value> {
        let pairs = |texts: &[&str]| texts.iter().map(|text| pair(text).unwrap()).collect();
        let arguments = ParameterArguments { params: pairs(params), json: pairs(json), file: None };
        arguments.collect(&declared()).map(Value::Object)
    }

    #[test]
    fn values_become_what_is_declared() {
        for (text, value) in [
            ("text=5", json!({"text": "5"})),
            ("text=", json!({"text": ""})),
            ("text=a=b", json!({"text": "a=b"})),
            ("text= spaced ", json!({"text": " spaced "})),
            ("text=@@at", json!({"text": "@at"})),
            ("count=5", json!({"count": 5})),
            ("count=-5", json!({"count": -5})),
            ("count=2.0", json!({"count": 2.0})),
            ("count= 7 ", json!({"count": 7})),
            ("ratio=1e3", json!({"ratio": 1000.0})),
            ("flag=true", json!({"flag": true})),
            ("list=[1, \"a\"]", json!({"list": [1, "a"]})),
            ("map={\"a\": {\"b\": null}}", json!({"map": {"a": {"b": null}}})),
            ("either=null", json!({"either": null})),
            ("loose=5", json!({"loose": "5"})),
            ("free=5", json!({"free": "5"})),
            ("unknown=[1]", json!({"unknown": "[1]"})),
        ] {
            assert_eq!(given(&[text], &[]).unwrap(), value, "{text}");
        }
        assert_eq!(given(&["text=a"], &["free=[1]"]).unwrap(), json!({"text": "a", "free": [1]}));
    }

    #[test]
    fn faults_name_parameter_value_and_type() {
        for (text, message) in [
            ("count=five", "parameter 'count': \"five\" is not an integer, such as 5"),
            ("count=2.5", "parameter 'count': \"2.5\" is not an integer, such as 5"),
            ("count=\"5\"", "parameter 'count': \"\\\"5\\\"\" is not an integer, such as 5"),
            ("count=", "parameter 'count': \"\" is not an integer, such as 5"),
            ("ratio=1,5", "parameter 'ratio': \"1,5\" is not a number, such as 1.5"),
            ("flag=yes", "parameter 'flag': \"yes\" is not a boolean: true or false"),
            ("list=a,b", "parameter 'list': \"a,b\" is not an array, such as '[1, 2]' or '[\"a\", \"b\"]'"),
            ("map=[]", "parameter 'map': \"[]\" is not an object, such as '{\"key\": \"value\"}'"),
            ("either=no", "parameter 'either': \"no\" is not an integer, such as 5, or null"),
            ("pin=secret", "parameter 'pin': the value given is not an integer, such as 5"),
        ] {
            let error = given(&[text], &[]).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(error.is::<BadInput>());
        }
        let error = given(&[], &["pin=secret"]).unwrap_err();
        assert_eq!(error.to_string(), "parameter 'pin': the value given is not JSON");
        let error = given(&["text=a", "text=b"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "parameter 'text' is given twice");
        let error = given(&["text=a"], &["text=\"b\""]).unwrap_err();
        assert_eq!(error.to_string(), "parameter 'text' is given twice");
    }

    #[test]
    fn values_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (text, list) = (path("text", "line one\nline two\n"), path("list", "[1,\n 2]\n"));
        let value = given(&[&format!("text=@{text}"), &format!("list=@{list}")], &[]).unwrap();
        assert_eq!(value, json!({"text": "line one\nline two\n", "list": [1, 2]}));
        let error = given(&["text=@/nowhere"], &[]).unwrap_err();
        assert_eq!(
            crate::exit::message(&error),
            "parameter 'text': cannot read the file /nowhere: No such file or directory (os error 2)"
        );
        for (name, content) in
            [("all.json", "{\"count\": 1, \"free\": 2}"), ("all.yaml", "count: 1\nfree: 2\n")]
        {
            let arguments = ParameterArguments {
                params: vec![("count".to_owned(), "3".to_owned())],
                json: Vec::new(),
                file: Some(path(name, content).into()),
            };
            assert_eq!(Value::from(arguments.collect(&declared()).unwrap()), json!({"count": 3, "free": 2}));
        }
        let arguments = ParameterArguments { file: Some(path("bad", "- 1\n").into()), ..Default::default() };
        let error = arguments.collect(&declared()).unwrap_err();
        assert!(error.to_string().contains("are no JSON or YAML mapping: "), "{error}");
    }

    #[test]
    fn a_pair_needs_a_name() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        for text in ["a", "=b", " =b", ""] {
            assert!(pair(text).is_err(), "{text:?}");
        }
    }
}
