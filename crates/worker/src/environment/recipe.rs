//! Which recipe makes the environment of an action: the pack's own, or a built-in one.

use std::{ffi::OsStr, path::Path, sync::LazyLock};

use anyhow::{Context, bail};
use attune_common::{model::Recipe, pack};

use super::pyproject;

/// A recipe that packs need not bring.
struct BuiltIn {
    /// The program that it needs besides the interpreter.
    tool: Option<&'static str>,
    /// The Debian package of that program. Without one the next recipe does, or nothing is installed.
    package: Option<&'static str>,
    recipe: Recipe,
}

/// What makes the environment of an action.
#[derive(Debug)]
pub(super) enum Choice {
    /// A recipe.
    Recipe(Recipe),
    /// The pack locks nothing for the runtime.
    Nothing,
    /// The pack locks something that cannot be installed here, and may do without.
    Without {
        /// The lock file.
        lock: String,
        /// The program that is missing.
        tool: &'static str,
    },
}

/// The recipes, in the form in which packs write them. Of several that fit, the first is taken.
static BUILT_IN: LazyLock<[BuiltIn; 10]> = LazyLock::new(|| {
    [
        built_in(Some("uv"), None, include_str!("recipes/python-uv.yaml")),
        built_in(None, None, include_str!("recipes/python-pip.yaml")),
        built_in(Some("npm"), Some("npm"), include_str!("recipes/node-npm.yaml")),
        built_in(Some("bundle"), Some("ruby-bundler"), include_str!("recipes/ruby-vendored.yaml")),
        built_in(Some("bundle"), Some("ruby-bundler"), include_str!("recipes/ruby-bundler.yaml")),
        built_in(Some("bundle"), Some("ruby-bundler"), include_str!("recipes/ruby-unlocked-vendored.yaml")),
        built_in(Some("bundle"), Some("ruby-bundler"), include_str!("recipes/ruby-unlocked.yaml")),
        built_in(None, None, include_str!("recipes/go.yaml")),
        // a cpanfile is as often a remark as an order, so that cpanm may be missing
        built_in(Some("cpanm"), None, include_str!("recipes/perl-vendored.yaml")),
        built_in(Some("cpanm"), None, include_str!("recipes/perl-cpanm.yaml")),
    ]
});

fn built_in(tool: Option<&'static str>, package: Option<&'static str>, text: &str) -> BuiltIn {
    let recipe = pack::recipe::parse("built-in recipe", text, &mut Vec::new());
    BuiltIn { tool, package, recipe: recipe.expect("the test below reads them all") }
}

/// What makes the environment for the actions of a runtime in an unpacked pack.
pub(super) fn choose(pack: &Path, runtime: &str, search_path: &OsStr) -> anyhow::Result<Choice> {
    if let Some(own) = pack::recipe::find(pack, runtime)? {
        return Ok(Choice::Recipe(own));
    }
    let mut choice = Choice::Nothing;
    let project = runtime == "python" && !pack.join(pyproject::REQUIREMENTS).exists();
    let project = project && pyproject::requirements(pack)?.is_some();
    for candidate in BUILT_IN.iter().filter(|candidate| candidate.recipe.name == runtime) {
        let mut recipe = candidate.recipe.clone();
        if project {
            recipe.lock_files = vec![pyproject::FILE.to_owned()];
        }
        if !recipe.lock_files.iter().all(|file| pack.join(file).exists()) {
            continue;
        }
        let Some(tool) = candidate.tool else { return Ok(Choice::Recipe(recipe)) };
        if which::which_in(tool, Some(search_path), "/").is_ok() {
            return Ok(Choice::Recipe(recipe));
        }
        let lock = recipe.lock_files.pop().unwrap_or_default();
        if let Some(package) = candidate.package {
            bail!(
                "the pack has {lock}, but there is no program {tool} on the worker's search path: install it in this \
                 container (Debian: {package})"
            );
        }
        choice = Choice::Without { lock, tool };
    }
    Ok(choice)
}

/// Files that a recipe reads and a pack need not have, by name.
pub(super) fn generated(recipe: &Recipe, pack: &Path) -> anyhow::Result<Option<(&'static str, String)>> {
    if recipe.lock_files != [pyproject::FILE] || pack.join(pyproject::REQUIREMENTS).exists() {
        return Ok(None);
    }
    let text = pyproject::requirements(pack).context("cannot read the pack's dependencies")?;
    Ok(text.map(|text| (pyproject::REQUIREMENTS, text)))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    struct Case {
        pack: tempfile::TempDir,
        tools: tempfile::TempDir,
    }

    impl Case {
        fn new(files: &[&str], tools: &[&str]) -> Self {
            let case = Self { pack: tempfile::tempdir().unwrap(), tools: tempfile::tempdir().unwrap() };
            for file in files {
                let path = case.pack.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let text = if *file == "pyproject.toml" { "[project]\ndependencies = ['six']\n" } else { "" };
                fs::write(path, text).unwrap();
            }
            for tool in tools {
                let path = case.tools.path().join(tool);
                fs::write(&path, "").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            case
        }

        fn choose(&self, runtime: &str) -> anyhow::Result<Choice> {
            choose(self.pack.path(), runtime, self.tools.path().as_os_str())
        }

        fn recipe(&self, runtime: &str) -> Option<Recipe> {
            match self.choose(runtime).unwrap() {
                Choice::Recipe(recipe) => Some(recipe),
                Choice::Nothing | Choice::Without { .. } => None,
            }
        }
    }

    #[test]
    fn every_built_in_recipe_is_one_that_a_pack_could_bring() {
        let names: Vec<&str> = BUILT_IN.iter().map(|one| one.recipe.name.as_str()).collect();
        assert_eq!(names, ["python", "python", "node", "ruby", "ruby", "ruby", "ruby", "go", "perl", "perl"]);
    }

    #[test]
    fn lock_files_and_tools_decide() {
        for (runtime, files, tools, first_word) in [
            ("python", &["requirements.txt"][..], &["uv"][..], Some("uv")),
            ("python", &["requirements.txt"], &[], Some("{interpreter}")),
            ("python", &["pyproject.toml"], &[], Some("{interpreter}")),
            ("python", &["package-lock.json"], &["npm"], None),
            ("python", &[], &["uv"], None),
            ("node", &["package.json", "package-lock.json"], &["npm"], Some("npm")),
            ("node", &["package.json"], &[], None),
            ("ruby", &["Gemfile", "Gemfile.lock"], &["bundle"], Some("{interpreter}")),
            ("ruby", &["Gemfile"], &["bundle"], Some("{interpreter}")),
            ("ruby", &[], &["bundle"], None),
            ("go", &["go.mod", "go.sum"], &[], Some("{interpreter}")),
            ("go", &["go.mod"], &[], None),
            ("perl", &["cpanfile"], &["cpanm"], Some("{interpreter}")),
            ("perl", &["cpanfile"], &[], None),
            ("java", &["pom.xml"], &["mvn"], None),
            ("r", &["renv.lock"], &[], None),
        ] {
            let recipe = Case::new(files, tools).recipe(runtime);
            let first =
                recipe.and_then(|one| Some(one.create.iter().chain(&one.install).next()?.0[0].to_string()));
            assert_eq!(first.as_deref(), first_word, "{runtime} with {files:?} and {tools:?}");
        }
    }

    #[test]
    fn what_a_pack_brings_is_installed_from_it() {
        for (runtime, files, tool) in [
            ("ruby", ["Gemfile", "Gemfile.lock", "vendor/cache/x.gem"], "bundle"),
            ("ruby", ["Gemfile", "vendor/cache/x.gem", "x"], "bundle"),
            ("perl", ["cpanfile", "vendor/cache/x.gz", "x"], "cpanm"),
        ] {
            let recipe = Case::new(&files, &[tool]).recipe(runtime).unwrap();
            assert!(recipe.lock_files.contains(&"vendor/cache".to_owned()), "{runtime}");
        }
    }

    #[test]
    fn a_recipe_of_the_pack_comes_first() {
        let case = Case::new(&["requirements.txt"], &["uv"]);
        fs::create_dir(case.pack.path().join("runtimes")).unwrap();
        let own = "name: py\nlock_files: [requirements.txt]\ninstall: [conda]\n";
        fs::write(case.pack.path().join("runtimes/mine.yaml"), own).unwrap();
        assert_eq!(case.recipe("python").unwrap().install[0].0[0].to_string(), "conda");
        assert!(matches!(case.choose("node").unwrap(), Choice::Nothing));
    }

    #[test]
    fn a_missing_tool_is_named() {
        let told = |files: &[&str], runtime| Case::new(files, &[]).choose(runtime).unwrap_err().to_string();
        insta::assert_snapshot!(
            [
                told(&["package.json", "package-lock.json"], "node"),
                told(&["Gemfile", "Gemfile.lock"], "ruby"),
            ]
            .join("\n"),
            @"
            the pack has package-lock.json, but there is no program npm on the worker's search path: install it in this container (Debian: npm)
            the pack has Gemfile.lock, but there is no program bundle on the worker's search path: install it in this container (Debian: ruby-bundler)
            "
        );
    }
}
