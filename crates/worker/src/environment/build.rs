//! Building one environment: a copy of the pack, the commands of a recipe, and only then a place that others see.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, anyhow};
use attune_common::model::{Places, Recipe, recipe::Command};
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::{Bounds, NotPrepared, Wanted, installer_log::InstallerLog, recipe, variables};
use crate::{
    cache::{self, Vacancy},
    confinement::RunAs,
    process::{self, Limits, ProcessSpec, Status},
    runtime_detect::Interpreter,
    settings::ExecutionSettings,
};

/// Pieces of output that wait between an installer and the log.
const OUTPUT_BACKLOG: usize = 16;

/// Folder of an environment with a copy of the pack, in which installers work.
const PACK: &str = "pack";

/// Folder below that copy from which scripts run where a recipe wants it.
const INSIDE: &str = ".inside";

/// Folder of an environment that exists while it is built: home and temporary files of installers.
const SCRATCH: &str = ".building";

/// What is needed to build an environment.
pub(super) struct Build<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) wanted: Wanted<'a>,
    pub(super) interpreter: &'a Interpreter,
    pub(super) settings: &'a ExecutionSettings,
    pub(super) bounds: &'a Bounds,
}

/// Where scripts run that must lie inside of an environment.
pub(super) fn inside(environment: &Path) -> PathBuf {
    environment.join(PACK).join(INSIDE)
}

impl Build<'_> {
    /// Fills an environment and publishes it. Whatever goes wrong, the vacancy leaves nothing.
    pub(super) async fn run(&self, vacancy: Vacancy) -> Result<(), NotPrepared> {
        let started = Instant::now();
        let runtime = &self.recipe.name;
        let mut log = InstallerLog::new(self.bounds.output.clone());
        log.remark(&format!("building the environment for {runtime} ({})", self.interpreter.path.display()))
            .await;
        let vacancy = self.copy_pack(vacancy).await?;
        for command in self.recipe.create.iter().chain(&self.recipe.install) {
            if let Err(error) = self.execute(command, vacancy.folder(), &mut log).await {
                // many files: not on a thread that others wait for
                tokio::task::spawn_blocking(move || drop(vacancy)).await?;
                return Err(error);
            }
        }
        let handed_over = self.settings.confinement.run_as.is_some();
        tokio::task::spawn_blocking(move || finish(vacancy, handed_over))
            .await
            .context("finishing the environment was interrupted")?
            .context("cannot finish the environment")?;
        let seconds = started.elapsed().as_secs_f64();
        log.remark(&format!("the environment for {runtime} is ready after {seconds:.1} s")).await;
        Ok(())
    }

    /// Installers work in a copy: the pack is shared, and its files cannot be written to.
    async fn copy_pack(&self, vacancy: Vacancy) -> anyhow::Result<Vacancy> {
        let generated = recipe::generated(self.recipe, self.wanted.pack)?;
        let pack = self.wanted.pack.to_owned();
        let run_as = self.settings.confinement.run_as;
        let copy = move || {
            let copy = vacancy.folder().join(PACK);
            fs::create_dir(&copy)?;
            cache::copy(&pack, &copy)?;
            if let Some((name, text)) = generated {
                fs::write(copy.join(name), text)?;
            }
            for folder in ["home", "tmp"] {
                let folder = vacancy.folder().join(SCRATCH).join(folder);
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            if let Some(RunAs { uid, gid }) = run_as {
                cache::give(vacancy.folder(), uid, gid)?;
            }
            Ok::<_, std::io::Error>(vacancy)
        };
        let copied = tokio::task::spawn_blocking(copy).await.context("copying the pack was interrupted")?;
        copied.context("cannot copy the pack for its installers")
    }

    /// Runs one command to its end.
    async fn execute(
        &self,
        command: &Command,
        environment: &Path,
        log: &mut InstallerLog,
    ) -> Result<(), NotPrepared> {
        let spec = self.process(command, environment)?;
        let shown = shown(&spec.command);
        log.remark(&format!("$ {shown}")).await;
        let limits = Limits {
            timeout: self.bounds.left(),
            stop_signal: Signal::TERM.as_raw(),
            kill_grace: self.settings.kill_grace,
        };
        let (sender, receiver) = mpsc::channel(OUTPUT_BACKLOG);
        let (ending, ()) =
            tokio::join!(process::run(spec, limits, sender, self.bounds.end.clone()), log.relay(receiver),);
        let ending = ending.with_context(|| format!("cannot start `{shown}`"))?;
        if ending.timed_out || ending.reason.is_some() {
            return Err(NotPrepared::Ended(ending));
        }
        if ending.status == Status::Exited(0) {
            return Ok(());
        }
        let (runtime, how) = (&self.recipe.name, ending.status);
        Err(anyhow!("cannot build the environment for {runtime}: `{shown}` {how}{}", log.last_words()).into())
    }

    /// The process of a command. Nothing of the execution is in its environment: installers run code of strangers.
    fn process(&self, command: &Command, environment: &Path) -> anyhow::Result<ProcessSpec> {
        let pack = environment.join(PACK);
        let places = Places { pack: &pack, environment, interpreter: &self.interpreter.path };
        let mut words: Vec<OsString> = command.0.iter().map(|word| word.fill(places)).collect();
        let front = self.recipe.path.iter().map(|folder| PathBuf::from(folder.fill(places)));
        let front: Vec<PathBuf> = front.chain(self.interpreter.path.parent().map(Path::to_owned)).collect();
        let search_path = variables::search_path(&front, &self.settings.search_path);
        let program = which::which_in(&words[0], Some(&search_path), &pack).map_err(|_| {
            let (program, runtime) = (words[0].display(), &self.recipe.name);
            anyhow!(
                "cannot build the environment for {runtime}: there is no program {program} on the worker's search \
                 path, which the recipe runs: install it in this container"
            )
        })?;
        words[0] = program.into();
        let scratch = environment.join(SCRATCH);
        let mut variables: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), search_path),
            ("HOME".into(), scratch.join("home").into()),
            ("TMPDIR".into(), scratch.join("tmp").into()),
            ("LANG".into(), "C.UTF-8".into()),
        ];
        variables.extend(variables::passed(self.settings));
        Ok(ProcessSpec {
            supervisors: self.settings.supervisors.clone(),
            title: format!("environment for {}", self.recipe.name),
            command: words,
            environment: variables,
            directory: pack,
            stdin: Vec::new(),
            // installers run code of the pack's dependencies: they are trusted as little as actions
            confinement: self.settings.confinement.clone(),
            workspace: Some(environment.to_owned()),
        })
    }
}

fn finish(vacancy: Vacancy, handed_over: bool) -> std::io::Result<()> {
    if handed_over {
        // actions run as the same user as installers, and must not be able to change what others use
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        cache::give(vacancy.folder(), uid.as_raw(), gid.as_raw())?;
    }
    cache::remove(&vacancy.folder().join(SCRATCH))?;
    let inside = inside(vacancy.folder());
    fs::create_dir_all(&inside)?;
    vacancy.publish(Some(&inside))
}

/// A command as a person would type it.
fn shown(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    shlex::try_join(words.iter().map(AsRef::as_ref)).unwrap_or_else(|_| words.join(" "))
}
