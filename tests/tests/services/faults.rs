//! Six agents on PostgreSQL and RabbitMQ, while agents, both services and the network between them fail at random.
//!
//! Afterwards every execution has exactly one outcome, what was done by those that succeeded is there, nothing was started twice
//! in one attempt, nothing runs any more, and no password was printed. The seed is printed; `ATTUNE_FAULTS_SEED` replays its
//! choices (not the timing of kernel, database and broker), `ATTUNE_FAULTS_EXECUTIONS` changes the number.

mod fleet;
mod strikes;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use attune_common::{
    doorbell::Ring,
    model::{Execution, ExecutionId, ExecutionStatus},
    store::{ExecutionFilter, NewExecution, StoreError},
};
use attune_tests::{
    postgres,
    processes::{description, marked, parents},
    rabbitmq, seed,
    service::Machine,
};
use fastrand::Rng;
use serde_json::json;

use self::{fleet::Fleet, strikes::Strikes};
use crate::{amqp, backend};

/// One turn: some are submitted, and perhaps something breaks.
const TURN: Duration = Duration::from_millis(150);

/// Executions that a turn submits.
const SUBMITTED: usize = 4;

/// Longest time in which nothing ends, before something is wrong.
const STUCK: Duration = Duration::from_mins(2);

/// Says which attempt it is: at the start, at the end, and in the log.
const START: &str = "echo $ATTUNE_ATTEMPT >>\"$ATTUNE_ACTION_FOLDER/$ATTUNE_EXEC_ID.started\"\n";
const END: &str = "\necho $ATTUNE_ATTEMPT >>\"$ATTUNE_ACTION_FOLDER/$ATTUNE_EXEC_ID.done\"\necho \"done in attempt $ATTUNE_ATTEMPT\"\n";

/// Actions: how often they may be started, what they do, and how often they are chosen.
const ACTIONS: [(&str, u32, &str, usize); 7] = [
    ("quick", 100, "", 8),
    ("slow", 100, "sleep 1", 4),
    ("long", 100, "sleep 4", 2),
    ("orphans", 100, "setsid sleep 600 & (sleep 600 & exec sleep 600) &", 2),
    ("once", 1, "sleep 0.3", 2),
    ("fails", 100, "exit 7", 2),
    // somebody asks for its end
    ("endless", 100, "sleep 600", 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_every_execution_has_one_outcome() {
    let mut random = seed::random("ATTUNE_FAULTS_SEED");
    let count = seed::number("ATTUNE_FAULTS_EXECUTIONS").unwrap_or(600) as usize;
    println!("ATTUNE_FAULTS_EXECUTIONS={count}");
    let (server, broker) = (postgres::Server::start(), rabbitmq::Broker::start());
    let database = server.database_with_roles().await;
    let mut machine = Machine::new().await;
    machine.store = backend(&database.url("attune_api")).await.store();
    let broker_url = broker.vhost().url();
    machine.doorbell = amqp(&broker_url, None).unwrap();
    push(&machine).await;
    let addresses = (server.address(), broker.address());
    let mut fleet =
        Fleet::start((&database.url("attune_agent"), addresses.0), (&broker_url, addresses.1)).await;
    let mut strikes = Strikes::new(Rng::with_seed(random.u64(..)), server, broker);

    let mut work = Work::new(machine, count);
    let start = Instant::now();
    let mut all_submitted = None;
    while work.ended.len() < count {
        strikes.recover(&fleet);
        fleet.revive();
        if work.ids.len() < count {
            let drawn = random.u8(..3) == 0;
            if drawn || strikes.are_late(work.ids.len() as f64 / count as f64) {
                strikes.strike(&mut fleet);
            }
            work.submit(SUBMITTED, &mut random).await;
        } else {
            all_submitted.get_or_insert(start.elapsed());
            strikes.end(&fleet).await;
        }
        work.look_after().await;
        tokio::time::sleep(TURN).await;
    }
    println!("submitted in {all_submitted:?}, ended in {:?}: {:?}", start.elapsed(), strikes.counts());
    // fewer leave no time for every strike
    if count >= 600 {
        assert_eq!(strikes.missing(), Vec::<String>::new());
    }

    nothing_runs(&work).await;
    println!("nothing runs after {:?}", start.elapsed());
    tokio::task::block_in_place(|| fleet.stop());
    println!("stopped after {:?}", start.elapsed());
    nothing_runs(&work).await;
    println!("{}", work.check().await);
    let printed = fleet.printed();
    println!("{} MB of log", printed.len() / 1_000_000);
    assert!(printed.contains(" registered") && printed.contains("lost the connection"), "the right texts");
    for password in [postgres::PASSWORD, rabbitmq::PASSWORD] {
        let told = printed.lines().find(|line| line.contains(password));
        assert!(told.is_none(), "a password was printed: {told:?}");
    }
}

async fn push(machine: &Machine) {
    let actions = ACTIONS.map(|(name, attempts, what, _)| {
        let manifest = format!(
            "max_attempts: {attempts}\nparameter_delivery: env\nparameters: {{folder: {{type: string}}}}\n"
        );
        (name, manifest, format!("{START}{what}{END}"))
    });
    let actions: Vec<(&str, &str, &str)> =
        actions.iter().map(|(name, manifest, script)| (*name, manifest.as_str(), script.as_str())).collect();
    machine.push(&actions).await;
}

/// Waits until nothing of any action lives, nor a supervisor, which shows the execution in its title.
async fn nothing_runs(work: &Work) {
    let mark = format!("ATTUNE_ACTION_FOLDER={}", work.folder().display());
    let is_supervisor = |pid: &i32| {
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = title.split(['\0', ' ']).filter_map(|word| word.parse::<ExecutionId>().ok());
        words.any(|id| work.ids.contains_key(&id))
    };
    let start = Instant::now();
    loop {
        let supervisors = parents().into_keys().filter(is_supervisor);
        let alive: Vec<i32> = marked(&mark).into_iter().chain(supervisors).collect();
        if alive.is_empty() {
            return;
        }
        let shown = || alive.iter().map(|pid| description(*pid)).collect::<Vec<_>>().join("\n");
        assert!(start.elapsed() < Duration::from_mins(1), "these live on:\n{}", shown());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks a store until it answers.
async fn insist<T, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < STUCK, "the store does not come back: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The executions, and what those who submitted them see.
struct Work {
    machine: Machine,
    marks: tempfile::TempDir,
    count: usize,
    /// Each with its action.
    ids: HashMap<ExecutionId, &'static str>,
    /// As they were when their end was first seen.
    ended: HashMap<ExecutionId, Execution>,
    to_cancel: Vec<(Instant, ExecutionId)>,
    looked: Instant,
    progress: Instant,
}

impl Work {
    fn new(machine: Machine, count: usize) -> Self {
        let marks = tempfile::tempdir().unwrap();
        let (ids, ended, now) = (HashMap::new(), HashMap::new(), Instant::now());
        Self { machine, marks, count, ids, ended, to_cancel: Vec::new(), looked: now, progress: now }
    }

    fn folder(&self) -> &Path {
        self.marks.path()
    }

    async fn submit(&mut self, number: usize, random: &mut Rng) {
        for _ in 0..number.min(self.count - self.ids.len()) {
            let of: Vec<&str> = ACTIONS.iter().flat_map(|one| std::iter::repeat_n(one.0, one.3)).collect();
            let name = of[random.usize(..of.len())];
            let parameters = json!({"folder": self.folder()});
            let new = NewExecution {
                action: format!("test.{name}").parse().unwrap(),
                parameters: serde_json::from_value(parameters).unwrap(),
                // whoever got no answer asks again
                idempotency_key: Some(self.ids.len().to_string()),
            };
            let execution = insist(|| self.machine.store.submit(new.clone())).await.execution;
            self.ids.insert(execution.id, name);
            self.ring(&Ring::Queued { execution: execution.id, requirement: execution.requirement }).await;
            if name == "endless" || random.u8(..50) == 0 {
                let when = Instant::now() + Duration::from_millis(random.u64(..4000));
                self.to_cancel.push((when, execution.id));
            }
        }
    }

    /// Nobody hears it when the broker is not there.
    async fn ring(&self, ring: &Ring) {
        let _ = self.machine.doorbell.ring(ring).await;
    }

    /// Cancels, and looks what has ended. Reaping is left to the agents.
    async fn look_after(&mut self) {
        let store = self.machine.store.clone();
        let now = Instant::now();
        let (due, later) =
            std::mem::take(&mut self.to_cancel).into_iter().partition(|(when, _)| *when <= now);
        self.to_cancel = later;
        let due: Vec<(Instant, ExecutionId)> = due;
        for (_, id) in due {
            insist(|| store.request_cancel(id)).await;
            self.ring(&Ring::CancelRequested { execution: id }).await;
        }
        if self.looked.elapsed() < Duration::from_secs(1) {
            return;
        }
        let statuses: Vec<_> = ExecutionStatus::ALL.into_iter().filter(|status| status.is_final()).collect();
        let filter = ExecutionFilter { statuses, limit: u32::MAX, ..ExecutionFilter::default() };
        for execution in insist(|| store.executions(&filter)).await {
            if self.ended.contains_key(&execution.id) {
                continue;
            }
            self.progress = Instant::now();
            self.ended.insert(execution.id, execution);
        }
        self.looked = Instant::now();
        if self.progress.elapsed() > STUCK {
            let waiting: Vec<_> = self.ids.keys().filter(|id| !self.ended.contains_key(id)).collect();
            let mut stuck = Vec::new();
            for id in waiting {
                stuck.extend(store.execution(*id).await.unwrap());
            }
            panic!("nothing ends any more: {} of {}; {stuck:#?}", self.ended.len(), self.count);
        }
    }

    /// Which attempts wrote a mark.
    fn marked(&self, id: ExecutionId, what: &str) -> Vec<u32> {
        let file: PathBuf = self.folder().join(format!("{id}.{what}"));
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Checks every execution, and sums up how they ended.
    async fn check(&self) -> String {
        let mut statuses: BTreeMap<&str, usize> = BTreeMap::new();
        let mut again = 0;
        for (id, name) in &self.ids {
            let last = self.machine.store.execution(*id).await.unwrap().unwrap();
            let read_at = self.ended[id].read_at;
            assert_eq!(Execution { read_at, ..last.clone() }, self.ended[id], "a final status is never left");
            self.check_marks(&last);
            self.check_outcome(name, &last).await;
            *statuses.entry(last.status.as_str()).or_default() += 1;
            again += usize::from(last.attempt > 1);
        }
        format!("{statuses:?}, {again} of them started more than once")
    }

    /// An attempt starts once and is done once, however often it was interrupted or repeated.
    fn check_marks(&self, last: &Execution) {
        let (started, done) = (self.marked(last.id, "started"), self.marked(last.id, "done"));
        for marks in [&started, &done] {
            let mut different = marks.clone();
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), marks.len(), "an attempt did it twice: {marks:?}, {last:#?}");
            assert!(
                marks.iter().all(|attempt| (1..=last.attempt).contains(attempt)),
                "an attempt that nobody counted: {marks:?}, {last:#?}"
            );
        }
        if last.status == ExecutionStatus::Succeeded {
            assert!(
                started.contains(&last.attempt) && done.contains(&last.attempt),
                "it did not do what it says: {started:?}, {done:?}, {last:#?}"
            );
        }
    }

    /// The outcome is that of the last attempt, and one that the action can have.
    async fn check_outcome(&self, name: &str, last: &Execution) {
        let outcome = last.outcome.clone().unwrap_or_default();
        match last.status {
            ExecutionStatus::Succeeded => {
                assert!(!matches!(name, "fails" | "endless"), "{last:#?}");
                assert_eq!(outcome.exit_code, Some(0), "{last:#?}");
                let log = self.machine.log(last.id, last.attempt).await;
                assert!(log.contains(&format!("done in attempt {}\n", last.attempt)), "{log:?}, {last:#?}");
            }
            ExecutionStatus::Failed => {
                assert_eq!((name, outcome.exit_code), ("fails", Some(7)), "{last:#?}");
            }
            ExecutionStatus::Cancelled => assert!(last.cancel_requested, "{last:#?}"),
            ExecutionStatus::Lost => {
                assert_eq!((name, last.attempts_left), ("once", 0), "{last:#?}");
                assert!(outcome.error.unwrap().contains("was not heard of"));
            }
            _ => panic!("this is no end of '{name}': {last:#?}"),
        }
    }
}
