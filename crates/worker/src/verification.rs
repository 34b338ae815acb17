//! Whether an interpreter runs scripts. One that tells its version need not: its standard library may be missing, a limit may be
//! too low for it, or the user that actions run as may not read it. A worker with such an interpreter would take one execution
//! after the other, and fail them all.
//!
//! A script of one line is run just as an action is: supervised, confined, with the same variables. `attune-worker` does that
//! with everything that it is configured to have, at its start; `attune-agent` when it uses an interpreter for the first time. What
//! does not run it is [offered](Offered) no more.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use attune_common::model::LogStream;
use rustix::process::Signal;
use tokio::sync::{OnceCell, mpsc, watch};

use crate::{
    environment::Environments,
    offered::Offered,
    process::{self, EndReason, Ending, Limits, Output, ProcessSpec, Status},
    runtime_detect::{Interpreter, Rejection, Runtime},
    settings::ExecutionSettings,
    stop::{Stage, StopSignal},
    workspace::Workspace,
};

/// What every script prints.
const ANSWER: &str = "this interpreter runs scripts";

/// Time that a script has: Go compiles a part of its standard library first.
const PATIENCE: Duration = Duration::from_mins(1);

/// Pause before the second try, which decides: a machine may be short of something for a moment.
const SECOND_TRY: Duration = Duration::from_secs(1);

/// How long an interpreter of which nothing could be decided is used as it is, before it is asked again.
const UNDECIDED: Duration = Duration::from_mins(5);

/// Bytes kept of each output.
const MAX_OUTPUT: usize = 64 * 1024;

/// Longest line that is told, in characters.
const MAX_LINE: usize = 200;

/// The name of a script's file, and its text.
type Script = (&'static str, &'static str);

/// The script of each built-in runtime. Of others, which a hints file defines, the language is not known.
fn script(runtime: &str) -> Option<Script> {
    Some(match runtime {
        "shell" => ("verify.sh", include_str!("verification/verify.sh")),
        "python" => ("verify.py", include_str!("verification/verify.py")),
        "node" => ("verify.js", include_str!("verification/verify.js")),
        "ruby" => ("verify.rb", include_str!("verification/verify.rb")),
        "go" => ("verify.go", include_str!("verification/verify.go")),
        "java" => ("Verify.java", include_str!("verification/Verify.java")),
        "r" => ("verify.R", include_str!("verification/verify.R")),
        "perl" => ("verify.pl", include_str!("verification/verify.pl")),
        _ => return None,
    })
}

/// What only the script gets.
fn own_variables(runtime: &str) -> Vec<(OsString, OsString)> {
    // no module is looked for above the working directory: what it asks for says nothing of this Go
    if runtime == "go" { vec![("GO111MODULE".into(), "off".into())] } else { Vec::new() }
}

/// What is known of an interpreter once it is decided.
type Verdict = Result<(), Rejection>;

/// Why it is not decided.
type Undecided = anyhow::Error;

/// A runtime, its interpreter, and the arguments that make the file one.
type Key = (String, PathBuf, Vec<String>);

/// One verification: what it decided, if it did, and when.
type Round = Arc<OnceCell<(Option<Verdict>, Instant)>>;

/// Verifies interpreters, each once. Clones share what is known.
#[derive(Clone)]
pub struct Verification {
    offered: Offered,
    environments: Environments,
    settings: Arc<ExecutionSettings>,
    rounds: Arc<Mutex<HashMap<Key, Round>>>,
}

impl Verification {
    /// Verifies what is offered.
    #[must_use]
    pub fn new(offered: Offered, environments: Environments, settings: Arc<ExecutionSettings>) -> Self {
        Self { offered, environments, settings, rounds: Arc::default() }
    }

    /// Verifies an interpreter, unless that is done, and withdraws one that is broken. What cannot be decided counts as good this
    /// time, and so does everything when somebody wants the `end` meanwhile.
    ///
    /// # Errors
    /// Why it is broken.
    pub async fn of(
        &self,
        runtime: &Runtime,
        interpreter: &Interpreter,
        mut end: watch::Receiver<Option<EndReason>>,
    ) -> Verdict {
        let decided = tokio::select! {
            decided = self.decided(runtime, interpreter) => decided,
            _ = end.wait_for(Option::is_some) => None,
        };
        decided.unwrap_or(Ok(()))
    }

    /// Verifies everything that is offered, one after the other.
    ///
    /// # Errors
    /// When an interpreter is broken.
    pub async fn of_all(&self, stop: &StopSignal) -> anyhow::Result<()> {
        let detection = self.offered.detection();
        let all: Vec<(&Runtime, &Interpreter)> = detection
            .runtimes
            .iter()
            .filter(|runtime| script(&runtime.name).is_some())
            .flat_map(|runtime| runtime.interpreters.iter().map(move |interpreter| (runtime, interpreter)))
            .collect();
        let (of, mut stop) = (all.len(), stop.clone());
        for (number, (runtime, interpreter)) in all.into_iter().enumerate() {
            let (name, path, number) = (&runtime.name, interpreter.path.display(), number + 1);
            let version = interpreter.version.as_ref().map(tracing::field::display);
            tracing::info!(number, of, runtime = name, %path, version, "verifying");
            let started = Instant::now();
            let decided = tokio::select! {
                decided = self.decided(runtime, interpreter) => decided,
                () = stop.reached(Stage::Drain) => return Ok(()),
            };
            let milliseconds = started.elapsed().as_millis();
            match decided {
                Some(Ok(())) => tracing::info!(number, of, runtime = name, %path, milliseconds, "verified"),
                Some(Err(reason)) => bail!(
                    "{name}: {path} does not run scripts: {reason}; repair it, or take it out of worker.runtimes"
                ),
                None => tracing::warn!(number, of, runtime = name, %path, milliseconds, "not verified"),
            }
        }
        Ok(())
    }

    /// What is known of an interpreter, or turns out. Whoever asks meanwhile waits for the same answer.
    async fn decided(&self, runtime: &Runtime, interpreter: &Interpreter) -> Option<Verdict> {
        let Some(script) = script(&runtime.name) else { return Some(Ok(())) };
        let round = self.round(&runtime.name, interpreter);
        if let Some((known, _)) = round.get() {
            return known.clone();
        }
        // a task of its own: it goes on for the others when this one is asked to end
        let (verification, runtime, interpreter) = (self.clone(), runtime.clone(), interpreter.clone());
        let deciding = tokio::spawn(async move {
            let decide = async || (verification.decide(script, &runtime, &interpreter).await, Instant::now());
            round.get_or_init(decide).await.0.clone()
        });
        deciding.await.ok().flatten()
    }

    /// The current verification of an interpreter: a new one, when the last decided nothing and that was some time ago.
    fn round(&self, runtime: &str, interpreter: &Interpreter) -> Round {
        let key = (runtime.to_owned(), interpreter.path.clone(), interpreter.args.clone());
        // nothing panics while it is held
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let current = rounds.entry(key).or_default();
        if matches!(current.get(), Some((None, at)) if at.elapsed() > UNDECIDED) {
            *current = Round::default();
        }
        current.clone()
    }

    async fn decide(&self, script: Script, runtime: &Runtime, interpreter: &Interpreter) -> Option<Verdict> {
        let path = interpreter.path.display();
        match self.try_twice(script, runtime, interpreter).await {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(reason)) => {
                let version = interpreter.version.as_ref().map(tracing::field::display);
                tracing::error!(
                    runtime = runtime.name,
                    %path,
                    version,
                    %reason,
                    "this interpreter does not run scripts and is offered no more: repair it, and start this worker anew"
                );
                self.offered.withdraw(&runtime.name, interpreter, reason.clone());
                Some(Err(reason))
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(runtime = runtime.name, %path, error, "cannot find out whether this interpreter runs scripts");
                None
            }
        }
    }

    async fn try_twice(
        &self,
        script: Script,
        runtime: &Runtime,
        interpreter: &Interpreter,
    ) -> Result<Verdict, Undecided> {
        if self.run(script, runtime, interpreter).await?.is_ok() {
            return Ok(Ok(()));
        }
        tokio::time::sleep(SECOND_TRY).await;
        self.run(script, runtime, interpreter).await
    }

    async fn run(
        &self,
        (name, text): Script,
        runtime: &Runtime,
        interpreter: &Interpreter,
    ) -> Result<Verdict, Undecided> {
        let workspace = Workspace::create(&self.settings)?;
        let script = workspace.write_script(name, text).context("cannot write the script")?;
        let prepared =
            self.environments.surroundings(&workspace.directory(), &runtime.name, Some(interpreter))?;
        let spec = ProcessSpec {
            supervisors: self.settings.supervisors.clone(),
            title: format!("verifying {}", interpreter.path.display()),
            command: runtime.command(interpreter, &script),
            environment: workspace.variables(own_variables(&runtime.name), &prepared, &self.settings),
            directory: workspace.directory(),
            stdin: Vec::new(),
            confinement: self.settings.confinement.clone(),
            workspace: Some(workspace.root().to_owned()),
        };
        let limits = Limits {
            timeout: PATIENCE,
            stop_signal: Signal::TERM.as_raw(),
            kill_grace: self.settings.kill_grace,
        };
        let (output, pieces) = mpsc::channel(16);
        let (_end, reason) = watch::channel(None);
        let reading = tokio::spawn(read(pieces));
        let ending = process::run(spec, limits, output, reason).await;
        let (stdout, stderr) = reading.await?;
        match ending {
            Ok(ending) => judge(&ending, &stdout, &stderr),
            Err(error) => not_started(&interpreter.path, error),
        }
    }
}

/// Reads everything, and keeps the beginning of both outputs.
async fn read(mut pieces: mpsc::Receiver<Output>) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(Output { stream, data }) = pieces.recv().await {
        let kept = if stream == LogStream::Stdout { &mut stdout } else { &mut stderr };
        kept.extend_from_slice(&data[..data.len().min(MAX_OUTPUT - kept.len())]);
    }
    (stdout, stderr)
}

/// What an ending says of the interpreter. What may have come from elsewhere decides nothing.
fn judge(ending: &Ending, stdout: &[u8], stderr: &[u8]) -> Result<Verdict, Undecided> {
    if ending.timed_out {
        bail!("it did not end within {PATIENCE:?}");
    }
    if ending.oom_killed {
        bail!("memory ran out");
    }
    // somebody wanted its end, or that of all processes
    let asked = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].map(Status::Signalled);
    if ending.status.is_kill() || asked.contains(&ending.status) {
        bail!("it {}", ending.status);
    }
    let answered = String::from_utf8_lossy(stdout).lines().any(|line| line.trim_end() == ANSWER);
    Ok(match ending.status {
        Status::Exited(0) if answered => Ok(()),
        Status::Exited(0) => Err(Rejection::Unrecognised { first_line: first_line(stdout, stderr) }),
        Status::Exited(code) => Err(Rejection::Failed {
            status: Some(code),
            signal: None,
            first_line: first_line(stderr, stdout),
        }),
        Status::Signalled(signal) => Err(Rejection::Failed {
            status: None,
            signal: Some(signal),
            first_line: first_line(stderr, stdout),
        }),
        Status::Unseen => bail!("it {}", ending.status),
    })
}

/// What it means that it could not be started: the file may be gone; all else may be for want of something.
fn not_started(path: &Path, error: io::Error) -> Result<Verdict, Undecided> {
    match path.try_exists() {
        Ok(false) => Ok(Err(Rejection::NotFound)),
        _ => Err(error).with_context(|| format!("cannot start {}", path.display())),
    }
}

/// The first line of an output that says something, or else of the other.
fn first_line(output: &[u8], other: &[u8]) -> Option<String> {
    [output, other].into_iter().find_map(|text| {
        let text = String::from_utf8_lossy(text);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.chars().take(MAX_LINE).collect())
    })
}

#[cfg(test)]
mod tests {
    use attune_common::model::runtime::BUILT_IN;

    use super::*;
    use crate::supervisor::protocol::Total;

    fn ending(status: Status) -> Ending {
        Ending {
            status,
            timed_out: false,
            reason: None,
            leaked: false,
            oom_killed: false,
            total: Total::default(),
        }
    }

    #[test]
    fn every_built_in_runtime_has_a_script_that_answers() {
        for (name, _) in BUILT_IN {
            let (_, text) = script(name).unwrap_or_else(|| panic!("{name} has none"));
            assert!(text.contains(ANSWER), "{name}");
        }
    }

    #[test]
    fn only_the_answer_is_good_and_only_the_interpreters_own_failure_is_bad() {
        let killed = ending(Status::Signalled(libc::SIGKILL));
        let told: Vec<String> = [
            ("it answers", ending(Status::Exited(0)), "this interpreter runs scripts\r\n", "a warning"),
            ("it says more", ending(Status::Exited(0)), "hello\nthis interpreter runs scripts\n", ""),
            ("it says something else", ending(Status::Exited(0)), "\nusage: python FILE\n", ""),
            ("it says nothing", ending(Status::Exited(0)), "", ""),
            ("it fails", ending(Status::Exited(127)), "", "\n  error: libz.so.1 is missing\nmore\n"),
            ("it fails and answers", ending(Status::Exited(1)), "this interpreter runs scripts\n", ""),
            ("it crashes", ending(Status::Signalled(libc::SIGSEGV)), "", ""),
            ("it was killed", killed, "", ""),
            ("it was asked to end", ending(Status::Signalled(libc::SIGTERM)), "", ""),
            ("its child was killed", ending(Status::Exited(137)), "", ""),
            ("memory ran out", Ending { oom_killed: true, ..ending(Status::Exited(1)) }, "", ""),
            ("nobody saw it", ending(Status::Unseen), "", ""),
            ("it takes too long", Ending { timed_out: true, ..killed }, "", ""),
        ]
        .into_iter()
        .map(|(what, ending, stdout, stderr)| match judge(&ending, stdout.as_bytes(), stderr.as_bytes()) {
            Ok(Ok(())) => format!("{what}: works"),
            Ok(Err(reason)) => format!("{what}: broken, {reason}"),
            Err(why) => format!("{what}: undecided, {why}"),
        })
        .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        it answers: works
        it says more: works
        it says something else: broken, answers as some other program: usage: python FILE
        it says nothing: broken, answers nothing
        it fails: broken, exit status 127: error: libz.so.1 is missing
        it fails and answers: broken, exit status 1: this interpreter runs scripts
        it crashes: broken, killed by SIGSEGV
        it was killed: undecided, it was ended by signal 9
        it was asked to end: undecided, it was ended by signal 15
        its child was killed: undecided, it exited with status 137
        memory ran out: undecided, memory ran out
        nobody saw it: undecided, it was killed together with its supervisor
        it takes too long: undecided, it did not end within 60s
        ");
    }

    #[test]
    fn a_line_is_told_shortened() {
        let long = "x".repeat(10_000);
        assert_eq!(first_line(long.as_bytes(), b"").unwrap().len(), MAX_LINE);
    }

    #[test]
    fn a_file_that_is_gone_is_broken_and_a_machine_that_is_short_of_something_decides_nothing() {
        let gone = not_started(Path::new("/nonexistent/python3"), io::ErrorKind::NotFound.into());
        assert!(matches!(gone, Ok(Err(Rejection::NotFound))), "{gone:?}");
        for short_of in [libc::EAGAIN, libc::EPERM, libc::ENOENT] {
            let decided = not_started(Path::new("/bin/sh"), io::Error::from_raw_os_error(short_of));
            assert!(decided.is_err(), "{decided:?}");
        }
    }
}
