//! The real `attune-agent` as a worker of a [`Machine`], and the probes that it answers.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{binaries, dev::wait_for, service::Machine};

/// Longest wait for a byte of an answer.
const SILENCE: Duration = Duration::from_mins(1);

/// A running agent that has a shell and answers probes on a free port. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    folder: TempDir,
    child: Child,
    address: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// Status line and headers.
    pub head: String,
    /// What follows.
    pub body: String,
}

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

impl Agent {
    /// Starts one with more arguments and variables, and waits until it answers probes.
    #[must_use]
    pub fn start(machine: &Machine, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("agent.log")).unwrap();
        let child = shell_agent(&folder.path().join("cache"), log)
            .args(arguments)
            .env("ATTUNE__DATABASE__URL", machine.url())
            .env("ATTUNE__DATABASE__POLL_INTERVAL", "50ms")
            .env("ATTUNE__WORKER__HEALTH_ADDR", "127.0.0.1:0")
            .env("ATTUNE__WORKER__HEARTBEAT_INTERVAL", "100ms")
            // on a busy machine three of these heartbeats may be late
            .env("ATTUNE__WORKER__LEASE", "30s")
            .env("ATTUNE__WORKER__KILL_GRACE", "500ms")
            .env("ATTUNE__WORKER__SLOTS", "2")
            .envs(environment.iter().copied())
            .spawn()
            .expect("attune-agent can be started");
        let mut agent = Self { folder, child, address: String::new() };
        wait_for("attune-agent to answer probes", || {
            // it may have done its work and be gone
            let ended = agent.child.try_wait().unwrap();
            let log = agent.log();
            let line = log.lines().find(|line| line.contains("answering probes"));
            let address = line.and_then(|line| line.split_once("address=")?.1.split_whitespace().next());
            agent.address = address.unwrap_or_default().into();
            let answers = !agent.address.is_empty();
            assert!(answers || ended.is_none(), "attune-agent ended with {ended:?}:\n{log}");
            answers
        });
        agent
    }

    /// Where it answers probes.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Everything that it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default()
    }

    /// Asks for a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
    }

    /// Sends these bytes, and reads until the connection is closed. No HTTP client sends all that tests want to send.
    #[must_use]
    pub fn send(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        Answer { head: head.to_owned(), body: body.to_owned() }
    }

    /// A connection that sends nothing yet.
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream
    }

    /// Waits until a probe answers a text that starts so.
    pub fn wait_until(&self, path: &str, expected: &str) {
        wait_for(&format!("{path} to answer '{expected}'"), || self.get(path).body.starts_with(expected));
    }

    /// Runs `attune-agent healthcheck` as in the same container.
    #[must_use]
    pub fn healthcheck(&self, arguments: &[&str]) -> Output {
        let address = &self.address;
        healthcheck(arguments, &[("ATTUNE__WORKER__HEALTH_ADDR", address)])
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("attune-agent to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `attune-agent healthcheck` in this environment.
#[must_use]
pub fn healthcheck(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = agent();
    command.arg("healthcheck").args(arguments).envs(environment.iter().copied());
    command.output().expect("attune-agent can be started")
}

/// The agent with a shell and this cache, whose log goes to a file.
#[must_use]
pub fn shell_agent(cache: &Path, log: File) -> Command {
    let mut command = agent();
    command
        .env("ATTUNE_WORKER_RUNTIMES", "shell")
        .env("ATTUNE__WORKER__CACHE_DIR", cache)
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command
}

/// The agent with nothing of the tester's own settings.
#[must_use]
pub fn agent() -> Command {
    let mut command = Command::new(binaries::path("attune-agent"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).stdin(Stdio::null());
    command
}
