//! What an action finds around its interpreter: variables, and the libraries that its pack locks.
//!
//! A [`recipe`](recipe) says what is installed and how: the pack's own, or a built-in one where the pack has the language's
//! lock file. [`key`] names the environment by everything that it depends on, and a [`Cache`] holds it: so packs that lock
//! the same share one, and it is whole or not there. [`build`] runs the installers as processes of the execution that
//! needs them first: with its log, its time limit and its cancellation, but without its secrets. [`ahead`] does that for all
//! known packs when `attune-worker` starts.

pub mod ahead;
mod build;
mod bytecode;
mod installer_log;
mod key;
mod pyproject;
mod recipe;
pub mod tidy;
pub mod variables;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use attune_common::model::{Places, Recipe};
use build::Build;
use bytecode::Bytecode;
use installer_log::InstallerLog;
use recipe::Choice;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    cache::{self, Cache, Lease, Taken},
    process::{EndReason, Ending, Output, Status},
    runtime_detect::Interpreter,
    settings::ExecutionSettings,
    supervisor::protocol::Total,
};

/// Environments in one folder, which several workers may share.
#[derive(Clone, Debug)]
pub struct Environments {
    cache: Cache,
    bytecode: Bytecode,
    settings: Arc<ExecutionSettings>,
}

/// For what an environment is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The pack's files.
    pub pack: &'a Path,
    /// The pack's digest.
    pub digest: &'a str,
    /// Canonical name of the runtime.
    pub runtime: &'a str,
    /// The interpreter; none for `native`.
    pub interpreter: Option<&'a Interpreter>,
}

/// What bounds the work on an environment, and who hears of it.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// When it must be ready.
    pub deadline: Instant,
    /// Gets what installers say.
    pub output: mpsc::Sender<Output>,
    /// Carries the reason to end it early.
    pub end: watch::Receiver<Option<EndReason>>,
}

/// What the process of an action needs. The environment stays while this lives.
#[derive(Debug)]
pub struct Prepared {
    /// The pack's files, from which the action runs.
    pub pack: PathBuf,
    /// Variables of the runtime and of the environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Folders in front of the search path.
    pub path: Vec<PathBuf>,
    /// What runs the script in place of the interpreter that was chosen.
    pub interpreter: Option<PathBuf>,
    in_use: Vec<Lease>,
}

/// Why there is no environment.
#[derive(Debug)]
pub enum NotPrepared {
    /// The time was up, or somebody wanted the end.
    Ended(Ending),
    /// It cannot be built.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for NotPrepared {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Environments {
    /// The environments of a worker.
    #[must_use]
    pub fn new(settings: Arc<ExecutionSettings>) -> Self {
        let cache = Cache::new(settings.cache_dir.join("environments"));
        Self { cache, bytecode: Bytecode::new(settings.clone()), settings }
    }

    /// The environment of an action, built if it is not there.
    ///
    /// # Errors
    /// When an installer fails, the time is up, or the end is asked for.
    pub async fn prepare(&self, wanted: Wanted<'_>, bounds: &Bounds) -> Result<Prepared, NotPrepared> {
        let mut prepared = self.environment(wanted, bounds).await?;
        if let (Some(interpreter), "python") = (wanted.interpreter, wanted.runtime) {
            let environment = prepared.in_use.first().map(Lease::path);
            if let Some(compiled) = self.bytecode.of(interpreter, environment).await {
                prepared.variables.push(("PYTHONPYCACHEPREFIX".into(), compiled.path().into()));
                prepared.in_use.push(compiled);
            }
        }
        Ok(prepared)
    }

    /// What a process of a runtime needs when nothing is installed for it.
    ///
    /// # Errors
    /// When the caches of the runtime cannot be made.
    pub fn surroundings(
        &self,
        pack: &Path,
        runtime: &str,
        interpreter: Option<&Interpreter>,
    ) -> anyhow::Result<Prepared> {
        Ok(Prepared {
            pack: pack.to_owned(),
            variables: variables::of_runtime(runtime, &self.settings)
                .context("cannot make the caches of the runtime")?,
            path: interpreter.and_then(|one| one.path.parent()).map(Path::to_owned).into_iter().collect(),
            interpreter: None,
            in_use: Vec::new(),
        })
    }

    async fn environment(&self, wanted: Wanted<'_>, bounds: &Bounds) -> Result<Prepared, NotPrepared> {
        let mut prepared = self.surroundings(wanted.pack, wanted.runtime, wanted.interpreter)?;
        let Some(interpreter) = wanted.interpreter else { return Ok(prepared) };
        let search_path = variables::search_path(&prepared.path, &self.settings.search_path);
        let recipe = match recipe::choose(wanted.pack, wanted.runtime, &search_path)? {
            Choice::Recipe(recipe) => recipe,
            Choice::Nothing => return Ok(prepared),
            Choice::Without { lock, tool } => {
                let remark = format!(
                    "nothing is installed: the pack has {lock}, but there is no program {tool} on the worker's search path"
                );
                InstallerLog::new(bounds.output.clone()).remark(&remark).await;
                return Ok(prepared);
            }
        };
        let key = key::of(&recipe, wanted.pack, wanted.digest, interpreter, self.cache.folder())
            .context("cannot read the pack's lock files")?;
        let lease = self.ready(&key, &recipe, wanted, interpreter, bounds).await?;
        if recipe.run_inside {
            prepared.pack = inside(lease.path(), wanted).await?;
        }
        let places =
            Places { pack: &prepared.pack, environment: lease.path(), interpreter: &interpreter.path };
        let fill = |(name, value): (&String, &attune_common::model::Template)| {
            (OsString::from(name), value.fill(places))
        };
        let path = recipe.path.iter().map(|folder| PathBuf::from(folder.fill(places))).collect::<Vec<_>>();
        prepared.variables.extend(recipe.variables.iter().map(fill));
        prepared.interpreter = recipe.interpreter.as_ref().map(|template| template.fill(places).into());
        prepared.path.splice(0..0, path);
        prepared.in_use.push(lease);
        Ok(prepared)
    }

    /// Takes the environment, building it if nobody else does.
    async fn ready(
        &self,
        key: &str,
        recipe: &Recipe,
        wanted: Wanted<'_>,
        interpreter: &Interpreter,
        bounds: &Bounds,
    ) -> Result<Lease, NotPrepared> {
        loop {
            let vacancy = match self.take(key, bounds).await? {
                Taken::Whole(lease) => return Ok(lease),
                Taken::Vacant(vacancy) => vacancy,
            };
            Build { recipe, wanted, interpreter, settings: &self.settings, bounds }.run(vacancy).await?;
        }
    }

    /// Waits for the environment or for the task to build it, no longer than the bounds allow.
    async fn take(&self, key: &str, bounds: &Bounds) -> Result<Taken, NotPrepared> {
        let waiting = || {
            // a full channel means that there is enough to read already
            let _ =
                bounds.output.try_send(installer_log::remark("waiting for another worker that builds it"));
        };
        let taken = bounds.limit(self.cache.take(key, waiting)).await?;
        Ok(taken.with_context(|| {
            let folder = self.cache.folder().display();
            format!("cannot write to {folder}: choose another folder with worker.cache_dir")
        })?)
    }

    /// Waits until everything that is prepared in the background is there.
    async fn compiled(&self) {
        self.bytecode.idle().await;
    }
}

impl Bounds {
    /// Does some work, no longer than they allow.
    ///
    /// # Errors
    /// When the time is up, or the end is asked for.
    pub async fn limit<T>(&self, work: impl Future<Output = T>) -> Result<T, NotPrepared> {
        // nothing has run, hence no status that means anything
        let ended = |timed_out, reason| {
            NotPrepared::Ended(Ending {
                status: Status::Unseen,
                timed_out,
                reason,
                leaked: false,
                oom_killed: false,
                total: Total::default(),
            })
        };
        let mut end = self.end.clone();
        tokio::select! {
            done = work => Ok(done),
            reason = end.wait_for(Option::is_some) => match reason {
                Ok(reason) => Err(ended(false, *reason)),
                Err(gone) => Err(NotPrepared::Failed(gone.into())),
            },
            () = tokio::time::sleep_until(self.deadline) => Err(ended(true, None)),
        }
    }

    /// The time that is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The pack's files below the folder in which the environment was built: made once for every version of a pack.
async fn inside(environment: &Path, wanted: Wanted<'_>) -> anyhow::Result<PathBuf> {
    let place = build::inside(environment).join(wanted.digest);
    if place.is_dir() {
        return Ok(place);
    }
    let (pack, target) = (wanted.pack.to_owned(), place.clone());
    let link = move || {
        let beside = tempfile::tempdir_in(target.parent().unwrap_or(&target))?;
        cache::link(&pack, beside.path())?;
        std::fs::set_permissions(beside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o555))?;
        match std::fs::rename(beside.path(), &target) {
            // another execution was faster, with the same files
            Err(_) if target.is_dir() => Ok(()),
            renamed => renamed,
        }
    };
    tokio::task::spawn_blocking(link)
        .await
        .context("linking the pack was interrupted")?
        .context("cannot show the pack to its environment")?;
    Ok(place)
}
