//! The private folders of one attempt, and the environment that is built from nothing.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::Context;
use attune_common::model::Execution;

use crate::{confinement::RunAs, removal, runtime_detect::Interpreter, settings::ExecutionSettings};

/// Where programs are looked for when the worker itself has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names the folder whose files are kept. Also marks everything that an attempt starts: no other has the same value.
pub(crate) const ARTIFACTS_VARIABLE: &str = "ATTUNE_ARTIFACTS_DIR";

/// Folder of the cache in which attempts have theirs.
pub(crate) const FOLDER: &str = "executions";

/// A folder that exists while an attempt runs; dropping it removes everything.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    run_as: Option<RunAs>,
    // held as long as this worker lives: without it the folder is a leftover
    _lock: File,
}

impl Workspace {
    /// Makes the folders, mode 0700, for the user that the action runs as.
    ///
    /// # Errors
    /// When the cache folder cannot be written.
    pub fn create(settings: &ExecutionSettings) -> anyhow::Result<Self> {
        let parent = settings.cache_dir.join(FOLDER);
        fs::create_dir_all(&parent).with_context(|| {
            format!("cannot create {}: choose another folder with worker.cache_dir", parent.display())
        })?;
        let root = tempfile::Builder::new()
            .prefix("")
            .tempdir_in(&parent)
            .with_context(|| format!("cannot write to {}", parent.display()))?
            .keep();
        let lock = File::create(root.join("lock"))?;
        lock.lock()?;
        let workspace = Self { root, run_as: settings.confinement.run_as, _lock: lock };
        for folder in ["home", "tmp", "work", "artifacts"] {
            fs::DirBuilder::new().mode(0o700).create(workspace.folder(folder))?;
            workspace.hand_over(&workspace.folder(folder))?;
        }
        workspace.hand_over(&workspace.root)?;
        Ok(workspace)
    }

    fn hand_over(&self, path: &Path) -> io::Result<()> {
        match self.run_as {
            Some(run_as) => chown(path, Some(run_as.uid), Some(run_as.gid)),
            None => Ok(()),
        }
    }

    /// The folder with all the others.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The working directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.folder("work")
    }

    /// The folder for the files that the action wants to be kept.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.folder("artifacts")
    }

    /// Writes the parameters into a file that only its owner can read.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_parameters(&self, content: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.folder("parameters");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        std::io::Write::write_all(&mut file, content)?;
        self.hand_over(&path)?;
        Ok(path)
    }

    /// Every variable of the action but its parameters.
    #[must_use]
    pub fn environment(
        &self,
        execution: &Execution,
        pack: &Path,
        interpreter: Option<&Interpreter>,
        settings: &ExecutionSettings,
    ) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), search_path(interpreter)),
            ("HOME".into(), self.folder("home").into()),
            ("TMPDIR".into(), self.folder("tmp").into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("ATTUNE_EXEC_ID".into(), execution.id.to_string().into()),
            ("ATTUNE_ACTION".into(), execution.action.r#ref.to_string().into()),
            ("ATTUNE_PACK_REF".into(), execution.action.r#ref.pack().into()),
            ("ATTUNE_PACK_DIR".into(), pack.into()),
            ("ATTUNE_ATTEMPT".into(), execution.attempt.to_string().into()),
            (ARTIFACTS_VARIABLE.into(), self.artifacts().into()),
        ];
        variables.extend(runtime_variables(&execution.action.runner_type, &settings.cache_dir));
        variables.extend(
            settings.pass_environment.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?))),
        );
        variables
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = removal::remove(&self.root) {
            tracing::warn!(folder = %self.root.display(), %error, "cannot remove what an action left");
        }
    }
}

/// The worker's own PATH, because the container's tools are there, with the interpreter's folder in front: what belongs
/// to an interpreter lies beside it.
fn search_path(interpreter: Option<&Interpreter>) -> OsString {
    let inherited =
        std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into());
    let own = interpreter.and_then(|one| one.path.parent()).map(Path::to_owned);
    let folders = std::env::split_paths(&inherited).filter(|folder| folder.is_absolute());
    let all: Vec<PathBuf> =
        own.iter().cloned().chain(folders.filter(|folder| Some(folder) != own.as_ref())).collect();
    std::env::join_paths(all).unwrap_or(inherited)
}

/// What a runtime needs to behave in a process that nobody watches: output as it comes, caches outside the pack.
fn runtime_variables(runtime: &str, cache: &Path) -> Vec<(OsString, OsString)> {
    let cached = |name: &str| cache.join(name).into_os_string();
    match runtime {
        "python" => {
            vec![("PYTHONUNBUFFERED".into(), "1".into()), ("PYTHONDONTWRITEBYTECODE".into(), "1".into())]
        }
        // without a shared build cache every run would compile the standard library first
        "go" => vec![
            ("GOCACHE".into(), cached("go-build")),
            ("GOMODCACHE".into(), cached("go-mod")),
            ("GOTOOLCHAIN".into(), "local".into()),
        ],
        _ => Vec::new(),
    }
}
