//! The dependencies of a `pyproject.toml`, as the requirements file that every installer reads.
//!
//! A pack is no Python package: its dependencies are installed, not itself. uv can do so by itself, pip cannot.

use std::{fs, io, path::Path};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The project file (PEP 621).
pub(super) const FILE: &str = "pyproject.toml";

/// The requirements file.
pub(super) const REQUIREMENTS: &str = "requirements.txt";

#[derive(Deserialize)]
struct Document {
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    dynamic: Vec<String>,
}

/// The requirements of a pack's project file; `None` when it has none, or only settings of tools.
pub(super) fn requirements(pack: &Path) -> anyhow::Result<Option<String>> {
    let text = match fs::read_to_string(pack.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read the pack's {FILE}"))?,
    };
    let document: Document = toml::from_str(&text)
        .map_err(|error| anyhow::anyhow!("the pack's {FILE} is not valid: {}", error.message()))?;
    let Some(project) = document.project else { return Ok(None) };
    if project.dynamic.iter().any(|field| field == "dependencies") {
        bail!(
            "the pack's {FILE} computes its dependencies: list them in project.dependencies, or in {REQUIREMENTS}"
        );
    }
    let lines = project.dependencies.iter().map(|dependency| {
        // one requirement a line, or the second line would be an option of the installer
        dependency.split_whitespace().collect::<Vec<_>>().join(" ") + "\n"
    });
    Ok((!project.dependencies.is_empty()).then(|| lines.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<String>, String> {
        let pack = tempfile::tempdir().unwrap();
        fs::write(pack.path().join(FILE), text).unwrap();
        requirements(pack.path()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn dependencies_become_lines() {
        let text = "[project]\nname = 'x'\ndependencies = ['six >=1', \"\"\"a\n--index-url x\"\"\"]\n";
        assert_eq!(read(text).unwrap().unwrap(), "six >=1\na --index-url x\n");
        assert_eq!(read("[tool.ruff]\nline-length = 100\n").unwrap(), None);
        assert_eq!(read("[project]\nname = 'x'\n").unwrap(), None);
        assert_eq!(requirements(Path::new("/nonexistent")).unwrap(), None);
    }

    #[test]
    fn faults_say_what_to_do() {
        let told = ["[project\n", "[project]\ndependencies = 3\n", "[project]\ndynamic = ['dependencies']\n"];
        let told = told.map(|text| read(text).unwrap_err());
        insta::assert_snapshot!(told.join("\n"), @"
        the pack's pyproject.toml is not valid: unclosed table, expected `]`
        the pack's pyproject.toml is not valid: invalid type: integer `3`, expected a sequence
        the pack's pyproject.toml computes its dependencies: list them in project.dependencies, or in requirements.txt
        ");
    }
}
