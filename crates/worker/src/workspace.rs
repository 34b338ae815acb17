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

use crate::{
    confinement::RunAs,
    environment::{Prepared, variables},
    removal,
    settings::ExecutionSettings,
};

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
        let (root, lock) = loop {
            let root = tempfile::Builder::new()
                .prefix("")
                .tempdir_in(&parent)
                .with_context(|| format!("cannot write to {}", parent.display()))?
                .keep();
            let lock = File::create(root.join("lock"))?;
            lock.lock()?;
            // until it was locked, another worker could take the folder for a leftover and remove it
            if root.join("lock").exists() {
                break (root, lock);
            }
        };
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
        self.write(self.folder("parameters"), content)
    }

    /// Writes a script into the working directory.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_script(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        self.write(self.directory().join(name), text.as_bytes())
    }

    fn write(&self, path: PathBuf, content: &[u8]) -> anyhow::Result<PathBuf> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        std::io::Write::write_all(&mut file, content)?;
        self.hand_over(&path)?;
        Ok(path)
    }

    /// Every variable of the action but its parameters.
    ///
    /// # Errors
    /// When a file that a variable names cannot be written.
    pub fn environment(
        &self,
        execution: &Execution,
        prepared: &Prepared,
        settings: &ExecutionSettings,
    ) -> anyhow::Result<Vec<(OsString, OsString)>> {
        let mut own: Vec<(OsString, OsString)> = vec![
            ("ATTUNE_EXEC_ID".into(), execution.id.to_string().into()),
            ("ATTUNE_ACTION".into(), execution.action.r#ref.to_string().into()),
            ("ATTUNE_PACK_REF".into(), execution.action.r#ref.pack().into()),
            ("ATTUNE_PACK_DIR".into(), prepared.pack.clone().into()),
            ("ATTUNE_ATTEMPT".into(), execution.attempt.to_string().into()),
        ];
        if execution.action.runner_type == "go"
            && let Some(text) = variables::go_workspace(&prepared.pack)
        {
            let file = self.folder("tmp").join("go.work");
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            self.hand_over(&file)?;
            own.push(("GOWORK".into(), file.into()));
        }
        Ok(self.variables(own, prepared, settings))
    }

    /// These variables, and all that every process of a runtime gets.
    #[must_use]
    pub fn variables(
        &self,
        own: Vec<(OsString, OsString)>,
        prepared: &Prepared,
        settings: &ExecutionSettings,
    ) -> Vec<(OsString, OsString)> {
        let mut all: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), variables::search_path(&prepared.path, &settings.search_path)),
            ("HOME".into(), self.folder("home").into()),
            ("TMPDIR".into(), self.folder("tmp").into()),
            ("LANG".into(), "C.UTF-8".into()),
            (ARTIFACTS_VARIABLE.into(), self.artifacts().into()),
        ];
        all.extend(own);
        all.extend(prepared.variables.iter().cloned());
        // what the worker sets itself cannot be passed on in its place
        let passed = variables::passed(settings).into_iter();
        let passed: Vec<_> = passed.filter(|(name, _)| all.iter().all(|(own, _)| own != name)).collect();
        all.extend(passed);
        all
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = removal::remove(&self.root) {
            tracing::warn!(folder = %self.root.display(), %error, "cannot remove what an action left");
        }
    }
}
