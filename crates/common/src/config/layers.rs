//! Puts the layers of configuration together, and says exactly what is wrong with them.
//!
//! Written here rather than taken from figment or config-rs: neither reads `_FILE` variables nor names the nearest key.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    Config,
    keys::{self, KEYS, Key, Kind},
    nearest,
};
use crate::yaml;

/// Prefix of every variable that sets a key.
const PREFIX: &str = "ATTUNE__";

/// Largest file that a `_FILE` variable or `--config` may name, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where configuration comes from.
#[derive(Debug, Default)]
pub struct Sources {
    /// A YAML file, or none.
    pub file: Option<PathBuf>,
    /// The process environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// What is wrong with a configuration. Values never appear: they may be secret. The text holds the cause.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {reason}")]
    Unreadable {
        /// What the file is.
        what: String,
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is not a YAML mapping.
    #[error("configuration file {path} is not valid YAML: {message}")]
    Yaml {
        /// Its path.
        path: PathBuf,
        /// What the parser says.
        message: String,
    },
    /// A key that nobody knows.
    #[error("unknown configuration key '{key}' in {origin}; {hint}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it was found.
        origin: String,
        /// The nearest known key.
        hint: String,
    },
    /// A value of the wrong kind.
    #[error("configuration key '{key}' in {origin}: {message}")]
    Invalid {
        /// The key.
        key: String,
        /// Where it was found.
        origin: String,
        /// What is expected.
        message: String,
    },
    /// A key without which nothing works.
    #[error(
        "configuration key '{key}' is not set: set {variable}, for instance to {example}, or put it into the file given by --config"
    )]
    Missing {
        /// The key.
        key: &'static str,
        /// The variable that sets it.
        variable: &'static str,
        /// A sensible value.
        example: &'static str,
    },
}

impl Sources {
    /// The given file, and the environment of this process.
    #[must_use]
    pub fn process(file: Option<PathBuf>) -> Self {
        Self { file, environment: std::env::vars_os().collect() }
    }

    /// Puts all layers together.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut values: BTreeMap<&'static str, (Value, String)> = BTreeMap::new();
        for key in KEYS {
            let value = if key.default.is_empty() {
                Value::Null
            } else {
                serde_saphyr::from_str(key.default).unwrap_or_else(|_| Value::from(key.default))
            };
            values.insert(key.path, (value, "the defaults".to_owned()));
        }
        let mut secret_files = Vec::new();
        if let Some(path) = &self.file {
            let keys = read_file(path, &mut values)?;
            if keys.into_iter().any(|key| is_secret(key, &values[key.path].0)) {
                secret_files.push(path.clone());
            }
        }
        for (name, value) in &self.environment {
            if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) {
                let (key, text, file) = read_variable(name, value)?;
                if let Some(file) = file.filter(|_| is_secret(key, &text)) {
                    secret_files.push(file);
                }
                values.insert(key.path, (text, format!("variable {PREFIX}{name}")));
            }
        }
        Ok(Config { secret_files, ..build(&values)? })
    }
}

/// Whether a value is worth keeping: the address of a database file is none.
fn is_secret(key: &Key, value: &Value) -> bool {
    key.kind == Kind::Secret && !value.as_str().is_some_and(|text| text.starts_with("sqlite:"))
}

fn read_bounded(what: &str, path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let unreadable =
        |reason| ConfigError::Unreadable { what: what.to_owned(), path: path.to_owned(), reason };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(std::io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes"))));
    }
    Ok(text)
}

/// Reads the configuration file, and returns the keys that it sets.
fn read_file(
    path: &Path,
    values: &mut BTreeMap<&'static str, (Value, String)>,
) -> Result<Vec<&'static Key>, ConfigError> {
    let mut keys = Vec::new();
    let text = read_bounded("configuration file", path)?;
    let document: Option<Map<String, Value>> =
        yaml::parse(&text).map_err(|message| ConfigError::Yaml { path: path.to_owned(), message })?;
    let origin = path.display().to_string();
    for (section, content) in document.unwrap_or_default() {
        let Value::Object(entries) = content else {
            if content.is_null() && KEYS.iter().any(|key| key.path.starts_with(&format!("{section}."))) {
                continue;
            }
            return Err(unknown(&section, &origin));
        };
        for (name, value) in entries {
            let path = format!("{section}.{name}");
            let key = keys::find(&path).ok_or_else(|| unknown(&path, &origin))?;
            if !value.is_null() {
                values.insert(key.path, (value, origin.clone()));
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

fn unknown(key: &str, origin: &str) -> ConfigError {
    let hint = match nearest(key, KEYS.iter().map(|key| key.path)) {
        Some(near) => format!("is '{near}' meant?"),
        None => "--help lists the keys".to_owned(),
    };
    ConfigError::UnknownKey { key: key.to_owned(), origin: origin.to_owned(), hint }
}

/// Reads `DATABASE__URL` or, where no such key exists, `DATABASE__URL_FILE`; also returns the file that was read.
fn read_variable(
    name: &str,
    value: &std::ffi::OsStr,
) -> Result<(&'static Key, Value, Option<PathBuf>), ConfigError> {
    let path_of = |name: &str| name.to_lowercase().replace("__", ".");
    let origin = format!("variable {PREFIX}{name}");
    let (key, text, file) = match (keys::find(&path_of(name)), name.strip_suffix("_FILE")) {
        (Some(key), _) => (key, value.to_string_lossy().into_owned(), None),
        (None, Some(base)) => {
            let key = keys::find(&path_of(base)).ok_or_else(|| unknown(&path_of(base), &origin))?;
            let text = read_bounded(&format!("the file named by {PREFIX}{name}"), Path::new(value))?;
            (key, text.trim_end_matches(['\n', '\r']).to_owned(), Some(value.into()))
        }
        (None, None) => return Err(unknown(&path_of(name), &origin)),
    };
    let invalid = |message: &str| ConfigError::Invalid {
        key: key.path.to_owned(),
        origin: origin.clone(),
        message: message.to_owned(),
    };
    let list = || text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let value = match key.kind {
        Kind::Text | Kind::Secret | Kind::Duration => Value::from(text),
        Kind::Number => {
            Value::from(text.trim().parse::<u64>().map_err(|_| invalid("a whole number is expected"))?)
        }
        Kind::List => list().collect(),
        Kind::Map => {
            let pairs: Option<Map<String, Value>> = list()
                .map(|pair| {
                    pair.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().into()))
                })
                .collect();
            Value::Object(
                pairs.ok_or_else(|| invalid("name=value pairs, separated by commas, are expected"))?,
            )
        }
    };
    Ok((key, value, file))
}

/// Turns the flat values into the checked structure.
fn build(values: &BTreeMap<&'static str, (Value, String)>) -> Result<Config, ConfigError> {
    let mut tree = Map::new();
    for (path, (value, _)) in values {
        let (section, name) = path.split_once('.').unwrap_or(("", path));
        if let Value::Object(entries) = tree.entry(section).or_insert_with(|| Value::Object(Map::new())) {
            entries.insert(name.to_owned(), value.clone());
        }
    }
    serde_path_to_error::deserialize(Value::Object(tree)).map_err(|error| {
        let at = error.path().to_string();
        let key = KEYS.iter().find(|key| at.starts_with(key.path)).map_or(at.as_str(), |key| key.path);
        let origin = values.get(key).map_or_else(String::new, |(_, origin)| origin.clone());
        let secret = keys::find(key).is_some_and(|key| key.kind == Kind::Secret);
        // serde's messages quote the value
        let message = if secret { "a text is expected".to_owned() } else { error.into_inner().to_string() };
        ConfigError::Invalid { key: key.to_owned(), origin, message }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret;

    use super::*;

    fn load(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("attune.yaml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let sources = Sources { file: file.map(|_| path.clone()), environment };
        sources.load().map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn the_defaults_are_complete() {
        let config = load(None, &[]).unwrap();
        assert_eq!(config.worker.heartbeat_interval, Duration::from_secs(10));
        assert!(config.database_url().is_err());
    }

    #[test]
    fn leases_last_as_long_as_it_takes_to_be_lost_unless_something_else_is_said() {
        let lease = |yaml: Option<&str>| load(yaml, &[]).unwrap().worker.lease();
        assert_eq!(lease(None), Duration::from_secs(30));
        assert_eq!(lease(Some("worker: {heartbeat_interval: 1m}")), Duration::from_mins(3));
        assert_eq!(lease(Some("worker: {heartbeat_interval: 1m, lease: 5m}")), Duration::from_mins(5));
    }

    #[test]
    fn every_key_can_be_set_by_file_and_by_variable() {
        for key in KEYS {
            let text = match key.kind {
                Kind::Text if key.path == "log.format" => "json",
                Kind::Text | Kind::Secret => "words",
                Kind::Number => "7",
                Kind::Duration => "7s",
                Kind::List => "a,b",
                Kind::Map => "a=b,c=d",
            };
            load(None, &[(&keys::variable(key.path), text)]).unwrap_or_else(|e| panic!("{e}"));
            let (section, name) = key.path.split_once('.').unwrap();
            let yaml = match key.kind {
                Kind::List => "[a, b]",
                Kind::Map => "{a: b}",
                _ => text,
            };
            load(Some(&format!("{section}:\n  {name}: {yaml}\n")), &[]).unwrap_or_else(|e| panic!("{e}"));
        }
    }

    #[test]
    fn later_layers_win() {
        let file = "worker:\n  slots: 3\n  name: from-file\n";
        let config = load(Some(file), &[("ATTUNE__WORKER__SLOTS", "5")]).unwrap();
        assert_eq!((config.worker.slots, config.worker.name.as_deref()), (Some(5), Some("from-file")));
    }

    #[test]
    fn a_file_can_hold_the_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        std::fs::write(&path, "sqlite:///x.db\n").unwrap();
        let config = load(None, &[("ATTUNE__DATABASE__URL_FILE", path.to_str().unwrap())]).unwrap();
        assert_eq!(config.database_url().unwrap().expose_secret(), "sqlite:///x.db");
    }

    #[test]
    fn files_with_secrets_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (url, token) = (written("url", "postgres://a:b@c/d"), written("token", "open-sesame-of-mine"));
        let load = |file: Option<&Path>, variables: &[(&str, &Path)]| {
            let environment = variables.iter().map(|(name, file)| ((*name).into(), (*file).into()));
            let sources = Sources { file: file.map(Path::to_owned), environment: environment.collect() };
            sources.load().unwrap().secret_files
        };
        let both = [("ATTUNE__DATABASE__URL_FILE", url.as_path()), ("ATTUNE__API__TOKEN_FILE", &token)];
        assert_eq!(load(None, &both), [url.clone(), token.clone()]);
        let file = written("with.yaml", "message_queue:\n  url: amqp://a:b@c/d\n");
        assert_eq!(load(Some(&file), &both[..1]), [file, url]);
        let path = written("sqlite", "sqlite:///x.db");
        let file = written("without.yaml", "database:\n  url: sqlite:///x.db\nworker:\n  slots: 3\n");
        assert!(load(Some(&file), &[("ATTUNE__DATABASE__URL_FILE", &path)]).is_empty());
    }

    #[test]
    fn faults_say_where_and_what() {
        let told: Vec<String> = [
            load(Some("worker:\n  slot: 3\n"), &[]),
            load(Some("wroker:\n  slots: 3\n"), &[]),
            load(Some("worker: [1\n"), &[]),
            load(Some("worker:\n  slots: many\n"), &[]),
            load(Some("worker:\n  lease: 0s\n"), &[]),
            load(Some("api:\n  token: [hunter2]\n"), &[]),
            load(None, &[("ATTUNE__DATABSE__URL", "x")]),
            load(None, &[("ATTUNE__WORKER__SLOTS", "-1")]),
            load(None, &[("ATTUNE__WORKER__LEASE", "soon")]),
            load(None, &[("ATTUNE__WORKER__LABELS", "gpu")]),
            load(None, &[("ATTUNE__API__TOKEN_FILE", "/nonexistent/token")]),
        ]
        .into_iter()
        .map(|result| result.unwrap_err())
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
