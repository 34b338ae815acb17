//! Compiled Python modules, made once by the worker and only read by actions (`PYTHONPYCACHEPREFIX`).
//!
//! Actions write no bytecode: what one leaves, another would run. But then every start of Python compiles what it imports,
//! because many images (`python:3.13`) bring no compiled library. So the first action of an interpreter, or of an environment, has
//! the worker compile its modules in the background; actions find them as soon as all are there. Measured with asyncio,
//! json and urllib.request on Python 3.12: 91 ms instead of 423 ms, after 4 s of compiling.
//!
//! With a prefix Python looks nowhere else for compiled modules (`importlib.util.cache_from_source`): what lies beside its
//! source already is linked to.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::key::Parts;
use crate::{
    cache::{Cache, Lease, Taken, Vacancy},
    confinement::Confinement,
    process::{self, Limits, Output, ProcessSpec, Status},
    runtime_detect::Interpreter,
    settings::ExecutionSettings,
};

/// Compiles; it gets the folders of the environment as arguments.
const SCRIPT: &str = include_str!("compile.py");

/// Longest time for it. The largest installations take a minute.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Compiled modules in one folder, which several workers may share.
#[derive(Clone, Debug)]
pub(super) struct Bytecode {
    cache: Cache,
    settings: Arc<ExecutionSettings>,
    /// What could not be compiled is not tried again by this worker.
    failed: Arc<Mutex<HashSet<String>>>,
    compiling: TaskTracker,
}

impl Bytecode {
    pub(super) fn new(settings: Arc<ExecutionSettings>) -> Self {
        let cache = Cache::new(settings.cache_dir.join("bytecode"));
        Self { cache, settings, failed: Arc::default(), compiling: TaskTracker::new() }
    }

    /// The compiled modules of an interpreter and, if one is used, of an environment. Where there are none yet, they are
    /// compiled in the background, unless somebody else does.
    pub(super) async fn of(&self, interpreter: &Interpreter, environment: Option<&Path>) -> Option<Lease> {
        let key = key(interpreter, environment);
        if self.failed().contains(&key) {
            return None;
        }
        match self.cache.try_take(&key).await {
            Ok(Some(Taken::Whole(lease))) => return Some(lease),
            Ok(Some(Taken::Vacant(vacancy))) => {
                let (this, interpreter) = (self.clone(), interpreter.clone());
                let environment = environment.map(Path::to_owned);
                self.compiling.spawn(async move {
                    if let Err(error) = this.compile(vacancy, &interpreter.path, environment).await {
                        let (path, error) = (interpreter.path.display(), format!("{error:#}"));
                        tracing::warn!(interpreter = %path, error, "actions compile what they import themselves");
                        this.failed().insert(key);
                    }
                });
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot look for compiled Python modules"),
        }
        None
    }

    /// Waits until nothing is being compiled by this worker.
    pub(super) async fn idle(&self) {
        self.compiling.close();
        self.compiling.wait().await;
        self.compiling.reopen();
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    fn failed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn compile(
        &self,
        vacancy: Vacancy,
        interpreter: &Path,
        environment: Option<PathBuf>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut prefix = OsString::from("pycache_prefix=");
        prefix.push(vacancy.folder());
        let mut command = vec![interpreter.into()];
        command.extend(["-I", "-S", "-B", "-X"].map(Into::into));
        command.extend([prefix, "-c".into(), SCRIPT.into()]);
        command.extend(environment.map(Into::into));
        let spec = ProcessSpec {
            supervisors: self.settings.supervisors.clone(),
            title: "python compiler".to_owned(),
            command,
            environment: vec![("LANG".into(), "C.UTF-8".into())],
            directory: vacancy.folder().to_owned(),
            stdin: Vec::new(),
            // code of the interpreter alone, whose folder is the worker's own
            confinement: Confinement { run_as: None, ..self.settings.confinement.clone() },
            workspace: Some(vacancy.folder().to_owned()),
        };
        let limits = Limits {
            timeout: TIMEOUT,
            stop_signal: Signal::TERM.as_raw(),
            kill_grace: self.settings.kill_grace,
        };
        let (output, mut lines) = mpsc::channel::<Output>(16);
        // nobody asks for its end
        let (_end, reason) = watch::channel(None);
        let listen = async {
            let mut last = Vec::new();
            while let Some(line) = lines.recv().await {
                last = line.data;
            }
            String::from_utf8_lossy(&last).trim().to_owned()
        };
        let (ending, last) = tokio::join!(process::run(spec, limits, output, reason), listen);
        let ending = ending.context("cannot start it to compile its library")?;
        if ending.status != Status::Exited(0) {
            bail!("what compiles its library {}: {last}", ending.status);
        }
        tokio::task::spawn_blocking(move || vacancy.publish(None)).await??;
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(interpreter = %interpreter.display(), seconds, "compiled the modules of Python");
        Ok(())
    }
}

/// Names the compiled modules by everything that tells which there are; each also knows the source for which it is.
fn key(interpreter: &Interpreter, environment: Option<&Path>) -> String {
    let mut parts = Parts::new(SCRIPT);
    parts.add_interpreter(interpreter, std::env::consts::ARCH);
    parts.add(environment.map_or(&[][..], |folder| folder.as_os_str().as_encoded_bytes()));
    for folder in libraries(interpreter) {
        // what is installed later changes the folder; one that is not there counts, too
        let changed = fs::metadata(&folder).map_or((0, 0), |about| (about.mtime(), about.mtime_nsec()));
        parts.add(folder.as_os_str().as_encoded_bytes());
        parts.add(format!("{changed:?}").as_bytes());
    }
    parts.name()
}

/// Where packages of an interpreter usually are, as far as that can be told without starting it.
fn libraries(interpreter: &Interpreter) -> Vec<PathBuf> {
    let prefixes = [&interpreter.path, &interpreter.resolved].map(|path| path.ancestors().nth(2));
    let prefixes = prefixes.into_iter().flatten().chain([Path::new("/usr/local")]);
    let mut folders: Vec<PathBuf> = prefixes
        .flat_map(|prefix| fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("py"))
        .flat_map(|entry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name)))
        .collect();
    folders.sort();
    folders.dedup();
    folders
}
