//! Manifests: `pack.yaml`, `actions/*.yaml` and `runtimes/*.yaml` in the Attune pack format.
//!
//! What is wrong is an error that names the file; what is merely unknown is a warning, so that packs written for a newer
//! version still load.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{LoadedPack, PackError, archive::ManifestFiles, recipe};
use crate::{
    model::{
        Action, ActionRef, GroupMember, OutputFormat, ParameterDelivery, ParameterFormat, ParameterSchema,
        StopSignal, identifiers, runtime,
    },
    requirement::{InvalidTaint, Taint, VersionRange, parse_label},
    yaml,
};

/// `pack.yaml` as it is written.
#[derive(Deserialize)]
struct PackManifest {
    r#ref: String,
    version: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    description: String,
}

/// Keys of `pack.yaml` that mean something, here or to people.
const PACK_KEYS: &[&str] = &[
    "ref",
    "version",
    "label",
    "description",
    "author",
    "email",
    "keywords",
    "tags",
    "license",
    "homepage",
    "repository",
];

/// `actions/<name>.yaml` as it is written.
#[derive(Deserialize)]
struct ActionManifest {
    r#ref: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    description: String,
    #[serde(default = "enabled")]
    enabled: bool,
    runner_type: String,
    #[serde(default)]
    runtime_version: Option<String>,
    #[serde(default)]
    entry_point: String,
    #[serde(default)]
    members: Vec<GroupMember>,
    #[serde(default)]
    parameters: ParameterSchema,
    #[serde(default)]
    parameter_delivery: ParameterDelivery,
    #[serde(default)]
    parameter_format: ParameterFormat,
    #[serde(default)]
    output_format: OutputFormat,
    #[serde(default)]
    output_schema: Option<Value>,
    #[serde(default)]
    timeout: Option<f64>,
    #[serde(default)]
    stop_signal: StopSignal,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    tolerations: Vec<String>,
    #[serde(default)]
    max_attempts: Option<u32>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Keys of an action's manifest that mean something.
const ACTION_KEYS: &[&str] = &[
    "ref",
    "label",
    "description",
    "enabled",
    "runner_type",
    "runtime_version",
    "entry_point",
    "members",
    "parameters",
    "parameter_delivery",
    "parameter_format",
    "output_format",
    "output_schema",
    "timeout",
    "stop_signal",
    "labels",
    "tolerations",
    "max_attempts",
    "tags",
];

fn enabled() -> bool {
    true
}

/// Gives the files of a pack their meaning.
pub(super) fn load(files: &ManifestFiles, digest: String) -> Result<LoadedPack, PackError> {
    let mut warnings = Vec::new();
    let text = files
        .texts
        .get("pack.yaml")
        .ok_or_else(|| PackError::manifest("pack.yaml", "the pack has no such file"))?;
    let pack: PackManifest = parse("pack.yaml", text, PACK_KEYS, &mut warnings)?;
    identifiers::check_pack_ref(&pack.r#ref)
        .map_err(|error| PackError::manifest("pack.yaml", error.to_string()))?;
    if pack.version.trim().is_empty() || pack.version.len() > 64 {
        return Err(PackError::manifest("pack.yaml", "version has 1 to 64 characters"));
    }
    let mut actions: BTreeMap<ActionRef, Action> = BTreeMap::new();
    for (file, text) in files.texts.iter().filter(|(file, _)| file.starts_with("actions/")) {
        let manifest: ActionManifest = parse(file, text, ACTION_KEYS, &mut warnings)?;
        let action =
            check(manifest, &pack.r#ref, files).map_err(|message| PackError::manifest(file, message))?;
        let name = action.r#ref.clone();
        if actions.insert(name.clone(), action).is_some() {
            return Err(PackError::manifest(file, format!("a second action is called {name}")));
        }
    }
    check_groups(&actions)?;
    check_recipes(files, &mut warnings)?;
    if actions.is_empty() {
        warnings.push("the pack has no actions: none of its files is actions/*.yaml".to_owned());
    }
    Ok(LoadedPack {
        r#ref: pack.r#ref,
        version: pack.version,
        label: pack.label,
        description: pack.description,
        digest,
        actions: actions.into_values().collect(),
        warnings,
    })
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    file: &str,
    text: &str,
    known: &[&str],
    warnings: &mut Vec<String>,
) -> Result<T, PackError> {
    let manifest = yaml::parse(text).map_err(|message| PackError::manifest(file, message))?;
    let keys: Map<String, Value> = yaml::parse(text).map_err(|message| PackError::manifest(file, message))?;
    for key in keys.keys().filter(|key| !known.contains(&key.as_str())) {
        let hint = crate::config::nearest(key, known.iter().copied());
        let hint = hint.map(|near| format!("; is '{near}' meant?")).unwrap_or_default();
        warnings.push(format!("{file}: unknown key '{key}' is ignored{hint}"));
    }
    Ok(manifest)
}

/// Checks what the form alone does not say.
fn check(manifest: ActionManifest, pack: &str, files: &ManifestFiles) -> Result<Action, String> {
    let r#ref: ActionRef =
        manifest.r#ref.parse().map_err(|error: identifiers::InvalidName| error.to_string())?;
    if r#ref.pack() != pack {
        return Err(format!(
            "ref {} does not start with the pack's name: {pack}.{} is expected",
            r#ref,
            r#ref.name()
        ));
    }
    let runner_type = runtime::canonical_name(&manifest.runner_type);
    if !identifiers::is_plain_name(&runner_type) {
        return Err(format!("runner_type {:?} is not a name", manifest.runner_type));
    }
    let group = runner_type == runtime::GROUP;
    match (group, manifest.members.is_empty(), manifest.entry_point.as_str()) {
        (true, true, _) => return Err("a group needs members: a list of `action: PACK.NAME`".to_owned()),
        (true, false, entry) if !entry.is_empty() => return Err("a group has no entry_point".to_owned()),
        (false, false, _) => return Err("members belong to runner_type group".to_owned()),
        (false, true, "") => {
            return Err(
                "entry_point is missing: the script's name, relative to the folder actions".to_owned()
            );
        }
        (false, true, entry) if !files.files.contains(&format!("actions/{entry}")) => {
            return Err(format!("entry_point {entry:?}: the pack has no file actions/{entry}"));
        }
        _ => {}
    }
    let runtime_version = match manifest.runtime_version {
        Some(text) => {
            Some(text.parse::<VersionRange>().map_err(|error| format!("runtime_version: {error}"))?)
        }
        None => None,
    };
    let labels = manifest
        .labels
        .into_iter()
        .map(|(name, value)| parse_label(&format!("{name}={value}")).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let tolerations = manifest
        .tolerations
        .iter()
        .map(|text| text.parse::<Taint>().map_err(|error: InvalidTaint| format!("tolerations: {error}")))
        .collect::<Result<_, _>>()?;
    manifest.parameters.check()?;
    if let Some(schema) = &manifest.output_schema {
        jsonschema::validator_for(schema).map_err(|error| format!("output_schema: {error}"))?;
    }
    if manifest.timeout.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 31_536_000.0)) {
        return Err("timeout is a number of seconds, more than 0 and at most a year".to_owned());
    }
    let max_attempts = manifest.max_attempts.unwrap_or(1);
    if !(1..=100).contains(&max_attempts) {
        return Err("max_attempts lies between 1 and 100".to_owned());
    }
    Ok(Action {
        label: manifest.label,
        description: manifest.description,
        enabled: manifest.enabled,
        runner_type,
        runtime_version,
        entry_point: manifest.entry_point,
        members: manifest.members,
        parameters: manifest.parameters,
        parameter_delivery: manifest.parameter_delivery,
        parameter_format: manifest.parameter_format,
        output_format: manifest.output_format,
        output_schema: manifest.output_schema,
        timeout: manifest.timeout,
        stop_signal: manifest.stop_signal,
        labels,
        tolerations,
        max_attempts,
        tags: manifest.tags,
        r#ref,
    })
}

/// A group may only name actions of its own pack that are no groups: so it always ends, and always can be run.
fn check_groups(actions: &BTreeMap<ActionRef, Action>) -> Result<(), PackError> {
    for group in actions.values().filter(|action| action.is_group()) {
        for member in &group.members {
            let reason = match actions.get(&member.action) {
                None => "which the pack does not have",
                Some(action) if action.is_group() => "which is a group itself",
                Some(_) => continue,
            };
            let file = format!("action {}", group.r#ref);
            return Err(PackError::manifest(&file, format!("it names {}, {reason}", member.action)));
        }
    }
    Ok(())
}

/// Recipes are not kept beside the pack: workers read them from its files. Here they are only checked.
fn check_recipes(files: &ManifestFiles, warnings: &mut Vec<String>) -> Result<(), PackError> {
    let mut names = BTreeSet::new();
    for (file, text) in files.texts.iter().filter(|(file, _)| file.starts_with("runtimes/")) {
        let recipe = recipe::parse(file, text, warnings)?;
        let there = |lock: &String| {
            files.files.contains(lock) || files.files.iter().any(|file| file.starts_with(&format!("{lock}/")))
        };
        if let Some(lock) = recipe.lock_files.iter().find(|lock| !there(lock)) {
            return Err(PackError::manifest(file, format!("lock_files: the pack has no file {lock}")));
        }
        if !names.insert(recipe.name.clone()) {
            return Err(PackError::manifest(file, format!("a second recipe is for {}", recipe.name)));
        }
    }
    Ok(())
}
