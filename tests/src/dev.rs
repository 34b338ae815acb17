//! `attune dev` in a folder of its own, and the commands that talk to it.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::binaries;

/// Longest wait for anything; on an idle machine everything takes a fraction of it.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running `attune dev`. Dropping it kills it.
#[derive(Debug)]
pub struct Dev {
    folder: TempDir,
    child: Child,
}

impl Dev {
    /// Starts one and waits until it serves.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts one whose command was changed.
    #[must_use]
    pub fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("dev.log")).expect("a log file");
        let mut command = attune(folder.path());
        command
            .args(["dev", "--listen", "127.0.0.1:0"])
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        change(&mut command);
        let child = command.spawn().expect("attune can be started");
        let mut dev = Self { folder, child };
        wait_for("attune dev to serve", || {
            if let Some(status) = dev.child.try_wait().expect("it can be asked") {
                panic!("attune dev ended with {status}:\n{}", dev.log());
            }
            dev.state_dir().join("endpoint.json").exists()
        });
        dev
    }

    /// The folder with the state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Everything that it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("dev.log")).unwrap_or_default()
    }

    /// A command for this server.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = attune(self.folder.path());
        command.args(arguments);
        command
    }

    /// Runs a command to its end.
    pub fn attune<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments).output().expect("attune can be started")
    }

    /// Runs a command with `-o json` and reads what it prints.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> serde_json::Value {
        let output = self.command(arguments).args(["-o", "json"]).output().expect("attune can be started");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", shown(&output)))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("attune dev to end", || {
            status = self.child.try_wait().expect("it can be asked");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line tool with a state folder, and nothing of the tester's own settings.
#[must_use]
pub fn attune(folder: &Path) -> Command {
    let mut command = Command::new(binaries::path("attune"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ATTUNE_")) {
        command.env_remove(name);
    }
    command
        .args(["--state-dir".as_ref(), folder.join("state").as_os_str()])
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

/// Both streams and the status, for a message.
#[must_use]
pub fn shown(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Looks until a condition holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
