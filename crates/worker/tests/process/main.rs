//! Real processes under a real supervisor, ended in every way there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod confinement;
mod endings;
mod leftovers;
mod streams;
mod supervisors;

use std::{ffi::OsString, path::Path, time::Duration};

use attune_common::model::LogStream;
use attune_worker::{
    confinement::Confinement,
    process::{self, EndReason, Ending, Limits, ProcessSpec, Supervisors},
    supervisor::SupervisorProgram,
};
use tokio::sync::{mpsc, watch};

const LONG: Duration = Duration::from_mins(2);

/// A finished run.
struct Run {
    ending: Ending,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Run {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap().trim()
    }
}

/// What is asked of a run: a shell script and whatever else differs from the usual.
struct Ask<'a> {
    script: &'a str,
    stdin: &'a [u8],
    limits: Limits,
    /// Text on standard output at which the end is asked for.
    end_when: Option<(&'a str, EndReason)>,
    environment: Vec<(OsString, OsString)>,
    confinement: Confinement,
}

impl<'a> Ask<'a> {
    fn new(script: &'a str) -> Self {
        Self {
            script,
            stdin: b"",
            limits: limits(LONG, LONG),
            end_when: None,
            environment: Vec::new(),
            confinement: Confinement::default(),
        }
    }

    fn spec(&self) -> ProcessSpec {
        let mut spec = spec(&["/bin/sh", "-c", self.script]);
        spec.environment.extend(self.environment.iter().cloned());
        spec.stdin = self.stdin.to_vec();
        spec.confinement = self.confinement.clone();
        spec
    }

    async fn run(self) -> Run {
        let (sender, mut receiver) = mpsc::channel(4);
        let (end, reason) = watch::channel(None);
        let running = tokio::spawn(process::run(self.spec(), self.limits, sender, reason));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(output) = receiver.recv().await {
            match output.stream {
                LogStream::Stdout => stdout.extend(output.data),
                _ => stderr.extend(output.data),
            }
            if let Some((text, reason)) = self.end_when
                && String::from_utf8_lossy(&stdout).contains(text)
            {
                end.send_replace(Some(reason));
            }
        }
        Run { ending: running.await.unwrap().unwrap(), stdout, stderr }
    }
}

async fn shell(script: &str) -> Run {
    Ask::new(script).run().await
}

fn spec(command: &[&str]) -> ProcessSpec {
    ProcessSpec {
        supervisors: Supervisors::new(SupervisorProgram::at(env!("CARGO_BIN_EXE_attune-agent").into())),
        title: "a test".to_owned(),
        command: command.iter().map(Into::into).collect(),
        environment: vec![("PATH".into(), search_path())],
        directory: "/".into(),
        stdin: Vec::new(),
        confinement: Confinement::default(),
        workspace: None,
    }
}

/// Where the tester's own tools are, which is not the same everywhere.
fn search_path() -> OsString {
    std::env::var_os("PATH").expect("tests need tools")
}

fn limits(timeout: Duration, kill_grace: Duration) -> Limits {
    Limits { timeout, stop_signal: rustix::process::Signal::TERM.as_raw(), kill_grace }
}

/// Whether a process is there; a zombie that nobody has reaped yet is gone.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['R', 'S', 'D', 'T']))
}

/// Waits until something holds.
async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("waited two minutes for {what}"));
}
