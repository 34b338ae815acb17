//! Two thousand executions while agents, supervisors, actions and whole process trees are killed at random.
//!
//! Afterwards every execution has ended exactly once, and nothing of one runs after its end. The seed is printed;
//! `ATTUNE_CHAOS_SEED` replays its choices (not the kernel's timing), `ATTUNE_CHAOS_EXECUTIONS` changes the number.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use attune_common::{
    model::{ExecutionId, ExecutionStatus},
    store::ExecutionFilter,
};
use attune_tests::{
    agent::shell_agent,
    processes::{below, description, marked, parents},
    seed,
    service::Machine,
    waiting::until,
};
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const AGENTS: usize = 3;

/// Between two kills.
const PAUSE: Duration = Duration::from_millis(120);

/// Shell that writes a line at each start, so that every attempt can be counted.
const START: &str = "echo x >> \"$ATTUNE_ACTION_FOLDER/$ATTUNE_EXEC_ID\"; ";

/// An agent that is started again whenever it is killed.
struct Agents {
    children: Vec<Child>,
    folder: PathBuf,
    url: String,
}

impl Agents {
    fn start(&self, index: usize) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("agent-{index}.log")))
            .unwrap();
        shell_agent(&self.folder.join("cache"), log)
            .env("ATTUNE_WORKER_NAME", format!("agent-{index}"))
            .env("ATTUNE__DATABASE__URL", &self.url)
            .env("ATTUNE__DATABASE__POLL_INTERVAL", "50ms")
            .env("ATTUNE__WORKER__HEARTBEAT_INTERVAL", "300ms")
            .env("ATTUNE__WORKER__LEASE", "3s")
            .env("ATTUNE__WORKER__SLOTS", "4")
            .spawn()
            .expect("attune-agent can be started")
    }

    fn restart(&mut self, index: usize) {
        let _ = self.children[index].kill();
        let _ = self.children[index].wait();
        self.children[index] = self.start(index);
    }

    fn last_words(&self) -> String {
        let words = self.children.iter().enumerate().map(|(index, child)| {
            let log = fs::read_to_string(self.folder.join(format!("agent-{index}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            format!("agent-{index}, process {}:\n{last}\n", child.id())
        });
        words.collect()
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// Kills something, and returns what.
fn strike(agents: &mut Agents, random: &mut Rng) -> &'static str {
    let index = random.usize(..AGENTS);
    let agent = agents.children[index].id().cast_signed();
    let parents = parents();
    let supervisors: Vec<i32> =
        below(agent, &parents).into_iter().filter(|pid| parents[pid] == agent).collect();
    match random.u8(..10) {
        0 => {
            agents.restart(index);
            "agent"
        }
        1 => {
            for pid in below(agent, &parents) {
                kill(pid);
            }
            agents.restart(index);
            "tree"
        }
        2..=4 if !supervisors.is_empty() => {
            kill(supervisors[random.usize(..supervisors.len())]);
            "supervisor"
        }
        _ => {
            let actions: Vec<i32> =
                below(agent, &parents).into_iter().filter(|pid| parents[pid] != agent).collect();
            if !actions.is_empty() {
                kill(actions[random.usize(..actions.len())]);
            }
            "action"
        }
    }
}

async fn submit_all(machine: &Machine, folder: &Path, count: usize, random: &mut Rng) -> Vec<ExecutionId> {
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        let name = ["quick", "quick", "quick", "slow", "orphans", "fragile", "fails"][random.usize(..7)];
        ids.push(machine.submit(name, json!({"folder": folder})).await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_every_execution_ends_once_and_nothing_lives_on() {
    let count = seed::number("ATTUNE_CHAOS_EXECUTIONS").unwrap_or(2000) as usize;
    println!("ATTUNE_CHAOS_EXECUTIONS={count}");
    let mut random = seed::random("ATTUNE_CHAOS_SEED");
    let machine = Machine::new().await;
    let starts = tempfile::tempdir().unwrap();
    let many = "max_attempts: 100\nparameter_delivery: env\nparameters: {folder: {type: string}}\n";
    let one = many.replace("100", "1");
    machine
        .push(&[
            ("quick", many, &format!("{START}:")),
            ("slow", many, &format!("{START}sleep 0.3")),
            ("orphans", many, &format!("{START}setsid sleep 60 & (sleep 60 & exec sleep 60) & sleep 0.05")),
            ("fragile", &one, &format!("{START}sleep 0.05")),
            ("fails", many, &format!("{START}exit 7")),
        ])
        .await;
    let ids = submit_all(&machine, starts.path(), count, &mut random).await;

    let folder = tempfile::tempdir().unwrap();
    let mut agents = Agents { children: Vec::new(), folder: folder.path().to_owned(), url: machine.url() };
    agents.children = (0..AGENTS).map(|index| agents.start(index)).collect();
    let mut strikes: HashMap<&str, usize> = HashMap::new();
    let mut ended: HashMap<ExecutionId, (ExecutionStatus, u32)> = HashMap::new();
    let mut quiet_since = std::time::Instant::now();
    while ended.len() < count {
        *strikes.entry(strike(&mut agents, &mut random)).or_default() += 1;
        machine.store.reap().await.unwrap();
        let before = ended.len();
        for (id, status, attempt) in finals(&machine).await {
            if ended.insert(id, (status, attempt)).is_none() {
                let alive = marked(&format!("ATTUNE_EXEC_ID={id}"));
                let alive: Vec<String> = alive.into_iter().map(description).collect();
                assert!(
                    alive.is_empty(),
                    "{id} is {status} in attempt {attempt}, and these live on:\n{}\n{:?}\n{}",
                    alive.join("\n"),
                    machine.store.execution(id).await.unwrap().unwrap().outcome,
                    agents.last_words()
                );
            }
        }
        if ended.len() > before {
            quiet_since = std::time::Instant::now();
        }
        let stuck = quiet_since.elapsed() > Duration::from_mins(2);
        assert!(!stuck, "nothing ends any more: {} of {count}; {strikes:?}", ended.len());
        tokio::time::sleep(PAUSE).await;
    }
    println!("{strikes:?}");
    drop(agents);
    let cache = format!("ATTUNE_ARTIFACTS_DIR={}", folder.path().join("cache").display());
    until("nothing to live on when the agents are gone", || marked(&cache).is_empty()).await;

    let mut statuses: HashMap<&str, usize> = HashMap::new();
    for id in ids {
        let last = machine.store.execution(id).await.unwrap().unwrap();
        let first_seen = ended[&id];
        assert_eq!((last.status, last.attempt), first_seen, "{id}: a final status is never left");
        let started =
            fs::read_to_string(starts.path().join(id.to_string())).unwrap_or_default().lines().count();
        assert!(
            started <= last.attempt as usize,
            "{id} started {started} times in {} attempts",
            last.attempt
        );
        if last.status == ExecutionStatus::Succeeded {
            assert!(started >= 1, "{id} succeeded without a start");
        }
        *statuses.entry(last.status.as_str()).or_default() += 1;
    }
    println!("{statuses:?}");
}

/// Every execution that has ended.
async fn finals(machine: &Machine) -> Vec<(ExecutionId, ExecutionStatus, u32)> {
    let statuses = ExecutionStatus::ALL.into_iter().filter(|status| status.is_final()).collect();
    let filter = ExecutionFilter { statuses, limit: u32::MAX, ..ExecutionFilter::default() };
    let all = machine.store.executions(&filter).await.unwrap();
    all.into_iter().map(|one| (one.id, one.status, one.attempt)).collect()
}
