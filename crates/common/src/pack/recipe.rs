//! `runtimes/<name>.yaml`: recipes for environments, as packs write them.

use std::{
    fs, io,
    path::{Component, Path},
};

use super::{PackError, archive::is_yaml, manifest};
use crate::model::{Recipe, identifiers, runtime};

/// Keys of a recipe that mean something.
const KEYS: &[&str] = &[
    "name",
    "lock_files",
    "create",
    "install",
    "variables",
    "path",
    "interpreter",
    "run_inside",
    "label",
    "description",
];

/// Largest recipe, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a recipe. `file` names it in errors and warnings.
pub fn parse(file: &str, text: &str, warnings: &mut Vec<String>) -> Result<Recipe, PackError> {
    let mut recipe: Recipe = manifest::parse(file, text, KEYS, warnings)?;
    recipe.name = runtime::canonical_name(&recipe.name);
    check(&recipe).map_err(|message| PackError::manifest(file, message))?;
    Ok(recipe)
}

/// The recipe that an unpacked pack has for a runtime, if it has one.
pub fn find(pack: &Path, runtime: &str) -> Result<Option<Recipe>, PackError> {
    let folder = pack.join("runtimes");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(PackError::io("read", &folder))?,
    };
    for entry in entries {
        let path = entry.map_err(PackError::io("read", &folder))?.path();
        if !is_yaml(&path) {
            continue;
        }
        let size = fs::metadata(&path).map_err(PackError::io("read", &path))?.len();
        if size > MAX_BYTES {
            return Err(PackError::manifest(&shown(&path), format!("it has more than {MAX_BYTES} bytes")));
        }
        let text = fs::read_to_string(&path).map_err(PackError::io("read", &path))?;
        // warnings were shown when the pack was pushed
        let recipe = parse(&shown(&path), &text, &mut Vec::new())?;
        if recipe.name == runtime {
            return Ok(Some(recipe));
        }
    }
    Ok(None)
}

fn shown(path: &Path) -> String {
    format!("runtimes/{}", path.file_name().unwrap_or_default().display())
}

fn check(recipe: &Recipe) -> Result<(), String> {
    if !identifiers::is_plain_name(&recipe.name) {
        return Err(format!("name {:?} is not the name of a runtime", recipe.name));
    }
    if [runtime::NATIVE, runtime::GROUP].contains(&recipe.name.as_str()) {
        return Err(format!("{} has no environment: nothing is interpreted", recipe.name));
    }
    if recipe.lock_files.is_empty() {
        return Err("lock_files is empty: the files that say what is installed are expected".to_owned());
    }
    for file in &recipe.lock_files {
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if file.is_empty() || !inside {
            return Err(format!("lock_files: {file:?} does not lie in the pack"));
        }
    }
    if recipe.create.is_empty() && recipe.install.is_empty() {
        return Err("it has no command: create or install is expected".to_owned());
    }
    // setenv(3): a name is not empty and has no '='
    let bad = |name: &String| name.is_empty() || name.contains(['=', '\0']);
    match recipe.variables.keys().find(|name| bad(name)) {
        Some(name) => Err(format!("variables: {name:?} cannot be the name of a variable")),
        None => Ok(()),
    }
}
