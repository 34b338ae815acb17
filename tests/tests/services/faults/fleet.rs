//! The agents, each with networks of its own to the database and the broker.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
};

use attune_tests::{agent::shell_agent, dev::wait_for, proxy::Proxy};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How many agents there are.
pub(super) const AGENTS: usize = 6;

/// In the form of the configuration and as a time.
pub(super) const LEASE: (&str, std::time::Duration) = ("3s", std::time::Duration::from_secs(3));

/// Which of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Database,
    Broker,
}

pub(super) struct Agent {
    name: String,
    child: Child,
    /// Starts so far; each has a log of its own.
    pub(super) starts: usize,
    /// It was asked to end.
    leaving: bool,
    database: Proxy,
    broker: Proxy,
    urls: [String; 2],
}

impl Agent {
    pub(super) fn network(&self, service: Service) -> &Proxy {
        match service {
            Service::Database => &self.database,
            Service::Broker => &self.broker,
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        // it may have ended by itself
        let _ = kill_process(pid, signal);
    }

    /// Asks it to end in order, once: asked again it would cancel what it runs. [`Fleet::revive`] starts it again when it has.
    pub(super) fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.signal(Signal::TERM);
        }
    }

    fn log(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}-{}.log", self.name, self.starts))
    }

    /// How it ended and what it printed last, the newest line first, for people to see why.
    fn end(&self, status: ExitStatus, folder: &Path) -> String {
        let log = fs::read_to_string(self.log(folder)).unwrap();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        format!("{} ended with {status}: {lines:#?}", self.name)
    }

    /// Whether this end is in order: it was asked to, or it could not even register, in which case whoever runs containers
    /// starts it again. Any other end is a fault of its own.
    fn ended_in_order(&self, status: ExitStatus, folder: &Path) -> bool {
        let log = fs::read_to_string(self.log(folder)).unwrap();
        !log.contains(" registered") || self.leaving && status.success()
    }

    fn start(&mut self, folder: &Path) {
        self.starts += 1;
        self.leaving = false;
        let log = File::create(self.log(folder)).unwrap();
        self.child = launch(&self.name, folder, &self.urls, log);
    }
}

fn launch(name: &str, folder: &Path, [database, broker]: &[String; 2], log: File) -> Child {
    shell_agent(&folder.join("cache"), log)
        .env("ATTUNE__DATABASE__URL", database)
        .env("ATTUNE__DATABASE__SWEEP_INTERVAL", "1s")
        .env("ATTUNE__MESSAGE_QUEUE__URL", broker)
        .env("ATTUNE__WORKER__NAME", name)
        .env("ATTUNE__WORKER__HEARTBEAT_INTERVAL", "300ms")
        .env("ATTUNE__WORKER__LEASE", LEASE.0)
        .env("ATTUNE__WORKER__KILL_GRACE", "500ms")
        .env("ATTUNE__WORKER__SHUTDOWN_TIMEOUT", "2s")
        .env("ATTUNE__WORKER__SLOTS", "4")
        .env("RUST_LOG", "debug")
        .spawn()
        .expect("attune-agent can be started")
}

/// All agents. Dropping it kills them.
pub(super) struct Fleet {
    folder: TempDir,
    pub(super) agents: Vec<Agent>,
}

impl Fleet {
    /// Starts the agents. Each URL comes with the address in it, which a proxy takes the place of.
    pub(super) async fn start(database: (&str, String), broker: (&str, String)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut agents = Vec::new();
        for index in 0..AGENTS {
            let proxies = (Proxy::start(database.1.clone()).await, Proxy::start(broker.1.clone()).await);
            let urls = [
                database.0.replace(&database.1, &proxies.0.address()),
                broker.0.replace(&broker.1, &proxies.1.address()),
            ];
            let name = format!("agent-{index}");
            let log = File::create(folder.path().join(format!("{name}-1.log"))).unwrap();
            let child = launch(&name, folder.path(), &urls, log);
            agents.push(Agent {
                name,
                child,
                starts: 1,
                leaving: false,
                database: proxies.0,
                broker: proxies.1,
                urls,
            });
        }
        Self { folder, agents }
    }

    /// Kills one and starts it again.
    pub(super) fn restart(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        let _ = agent.child.kill();
        let _ = agent.child.wait();
        agent.start(self.folder.path());
    }

    /// Starts those again that have ended.
    pub(super) fn revive(&mut self) {
        for agent in &mut self.agents {
            if let Some(status) = agent.child.try_wait().unwrap() {
                let folder = self.folder.path();
                assert!(agent.ended_in_order(status, folder), "{}", agent.end(status, folder));
                agent.start(folder);
            }
        }
    }

    /// Asks all of them to stop, and waits until they have, in order.
    pub(super) fn stop(&mut self) {
        for agent in &mut self.agents {
            agent.leave();
        }
        for agent in &mut self.agents {
            let mut status = None;
            wait_for("an agent to stop", || {
                status = agent.child.try_wait().unwrap();
                status.is_some()
            });
            let (status, folder) = (status.unwrap(), self.folder.path());
            assert!(agent.ended_in_order(status, folder), "{}", agent.end(status, folder));
        }
    }

    /// Everything that they printed in all of their starts.
    pub(super) fn printed(&self) -> String {
        let files = fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.path());
        let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
        logs.map(|log| String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            let _ = agent.child.kill();
            let _ = agent.child.wait();
        }
    }
}
