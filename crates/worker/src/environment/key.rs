//! The name of an environment: a digest of everything that it depends on.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Component, Path},
};

use attune_common::model::Recipe;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::runtime_detect::{Interpreter, loader_of};

/// Grows when environments are built differently in a way that recipes do not show.
const FORMAT: &str = "attune environment 1";

/// A digest that cannot confuse where one part ends and the next begins.
pub(super) struct Parts(Sha256);

impl Parts {
    /// Begins with what tells these names from others.
    pub(super) fn new(format: &str) -> Self {
        let mut parts = Self(Sha256::new());
        parts.add(format.as_bytes());
        parts
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Everything that tells one interpreter from another: where it is, what it says of itself, and for which C library and processor
    /// it is made.
    pub(super) fn add_interpreter(&mut self, interpreter: &Interpreter, architecture: &str) {
        self.add(architecture.as_bytes());
        let loader = loader_of(&interpreter.resolved);
        for path in [Some(&interpreter.path), Some(&interpreter.resolved), loader.as_ref()] {
            self.add(path.map_or(&[][..], |path| path.as_os_str().as_encoded_bytes()));
        }
        for text in [&interpreter.raw_version, &interpreter.implementation, &interpreter.banner] {
            self.add(text.as_deref().unwrap_or_default().as_bytes());
        }
    }

    /// The digest as a name.
    pub(super) fn name(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// The key of the environment that a recipe makes for an interpreter, in a folder of environments.
///
/// The folder is part of it because environments hold their own path: containers that see one volume at different places
/// have environments of their own. So is the dynamic loader of the interpreter, which tells the C library (musl or glibc)
/// for which compiled libraries are made, and where lock files name files of the pack, the pack.
pub(super) fn of(
    recipe: &Recipe,
    pack: &Path,
    digest: &str,
    interpreter: &Interpreter,
    folder: &Path,
) -> io::Result<String> {
    let mut parts = Parts::new(FORMAT);
    parts.add(folder.as_os_str().as_encoded_bytes());
    parts.add(&serde_json::to_vec(recipe)?);
    parts.add_interpreter(interpreter, std::env::consts::ARCH);
    let neighbours = neighbours(recipe, pack)?;
    let mut names_files = false;
    for lock in &recipe.lock_files {
        for entry in WalkDir::new(pack.join(lock)).sort_by_file_name() {
            let entry = entry?;
            if !entry.file_type().is_dir() {
                let content = fs::read(entry.path())?;
                names_files |= names_a_file(&content, pack, &neighbours);
                let name = entry.path().strip_prefix(pack).unwrap_or(entry.path());
                parts.add(name.as_os_str().as_encoded_bytes());
                parts.add(&content);
            }
        }
    }
    if names_files {
        parts.add(digest.as_bytes());
    }
    Ok(parts.name())
}

/// What lies beside the lock files at the top of the pack.
fn neighbours(recipe: &Recipe, pack: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(pack)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let locked = recipe.lock_files.iter().any(|lock| Path::new(lock).starts_with(&name));
        if !locked {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Whether a lock file names something of the pack (`-r base.txt`, `file:vendor/greet`, `./wheels/six.whl`). A word that
/// only looks like it does no harm: it makes an environment more.
fn names_a_file(content: &[u8], pack: &Path, neighbours: &BTreeSet<String>) -> bool {
    let text = String::from_utf8_lossy(content);
    let separates = |c: char| c.is_whitespace() || "\"'`=,;:()[]{}<>@#".contains(c);
    text.split(separates).filter(|word| !word.is_empty()).any(|word| {
        let path = Path::new(word);
        let mut names = path.components().filter(|part| *part != Component::CurDir);
        match names.next() {
            // "." is the pack itself
            None => true,
            Some(Component::Normal(first)) => {
                first.to_str().is_some_and(|first| neighbours.contains(first)) && pack.join(path).exists()
            }
            Some(_) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Case {
        pack: tempfile::TempDir,
        recipe: Recipe,
        interpreter: Interpreter,
        folder: PathBuf,
        digest: &'static str,
    }

    impl Case {
        fn new() -> Self {
            let pack = tempfile::tempdir().unwrap();
            fs::create_dir_all(pack.path().join("wheels")).unwrap();
            fs::create_dir_all(pack.path().join("actions")).unwrap();
            for (file, text) in [("lock", "six 1.16\n"), ("wheels/six.whl", "x"), ("base.txt", "x")] {
                fs::write(pack.path().join(file), text).unwrap();
            }
            let recipe = "name: lua\nlock_files: [lock]\ninstall: [make]\n";
            let path = PathBuf::from("/bin/sh");
            Self {
                pack,
                recipe: attune_common::pack::recipe::parse("x", recipe, &mut Vec::new()).unwrap(),
                interpreter: Interpreter {
                    resolved: path.clone(),
                    path,
                    aliases: Vec::new(),
                    args: Vec::new(),
                    version: None,
                    raw_version: Some("5.4.6".to_owned()),
                    implementation: None,
                    banner: None,
                    on_path: true,
                    runs_source: None,
                },
                folder: "/cache".into(),
                digest: "d1",
            }
        }

        fn lock(self, text: &str) -> Self {
            fs::write(self.pack.path().join("lock"), text).unwrap();
            self
        }

        fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
            change(&mut self);
            self
        }

        fn key(&self) -> String {
            of(&self.recipe, self.pack.path(), self.digest, &self.interpreter, &self.folder).unwrap()
        }
    }

    #[test]
    fn the_same_makes_the_same_key_in_whatever_pack() {
        let other_pack = Case::new().with(|case| case.digest = "d2");
        assert_eq!(Case::new().key(), other_pack.key());
        assert_eq!(Case::new().key().len(), 64);
    }

    #[test]
    fn whatever_an_environment_depends_on_changes_its_key() {
        let cases = [
            Case::new(),
            Case::new().lock("six 1.17\n"),
            Case::new().with(|case| case.interpreter.path = "/opt/lua".into()),
            Case::new().with(|case| case.interpreter.raw_version = Some("5.4.7".to_owned())),
            Case::new().with(|case| case.interpreter.implementation = Some("luajit".to_owned())),
            Case::new().with(|case| case.folder = "/volume".into()),
            Case::new().with(|case| case.recipe.install.clear()),
            Case::new().with(|case| case.recipe.lock_files = vec!["wheels".to_owned()]),
        ];
        let keys: BTreeSet<String> = cases.iter().map(Case::key).collect();
        assert_eq!(keys.len(), cases.len());
    }

    #[test]
    fn machines_of_two_kinds_that_share_a_volume_have_environments_of_their_own() {
        let name = |architecture| {
            let mut parts = Parts::new("test");
            parts.add_interpreter(&Case::new().interpreter, architecture);
            parts.name()
        };
        assert_ne!(name("x86_64"), name("aarch64"));
    }

    #[test]
    fn lock_files_that_name_files_of_the_pack_depend_on_the_pack() {
        for (lock, depends) in [
            ("six 1.16", false),
            ("-r base.txt", true),
            ("--requirement=base.txt", true),
            ("./wheels/six.whl", true),
            ("wheels/six.whl", true),
            ("six @ file:wheels/six.whl", true),
            (r#"{"resolved": "file:wheels/six.whl"}"#, true),
            ("-e .", true),
            ("wheels/other.whl", false),
            ("https://example.com/wheels/six.whl", false),
            ("@actions/core", false),
            ("lock", false),
        ] {
            let [one, two] =
                ["d1", "d2"].map(|digest| Case::new().lock(lock).with(|case| case.digest = digest).key());
            assert_eq!(one != two, depends, "{lock}");
        }
    }

    #[test]
    fn a_lock_file_that_is_missing_is_an_error() {
        let case = Case::new().with(|case| case.recipe.lock_files = vec!["gone".to_owned()]);
        let key = of(&case.recipe, case.pack.path(), "d", &case.interpreter, &case.folder);
        assert!(key.unwrap_err().to_string().contains("gone"));
    }
}
