//! What every store must do, written once. A test hands over a fresh store as the API opens it, and the same data as an agent
//! opens it: what agents do is done through that handle.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use attune_common::{
    model::{
        Action, Artifact, Execution, ExecutionId, ExecutionStatus, LogStream, Outcome, Parameters, Worker,
        WorkerId, WorkerStatus,
        worker::{InterpreterCapability, RuntimeCapability},
    },
    requirement::Requirement,
    store::{ExecutionFilter, Fence, NewExecution, NewLogChunk, NewPack, Store, StoreError},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::seeding::new_worker;

/// A lease that does not expire while a test runs.
const LONG: Duration = Duration::from_mins(10);

/// A lease that has expired by the time anybody looks: the stores count in milliseconds.
const EXPIRED: Duration = Duration::ZERO;

/// A store with one pack of two actions: `suite.once` is started once, `suite.thrice` up to three times.
struct Suite {
    store: Arc<dyn Store>,
    agent: Arc<dyn Store>,
}

/// Runs the whole suite. Every part works with actions and workers of its own, so that the order does not matter.
pub async fn run(store: Arc<dyn Store>, agent: Arc<dyn Store>) {
    let suite = Suite { store, agent };
    suite.push("1.0.0", "digest-1").await;
    suite.packs_are_replaced_and_archives_stay().await;
    suite.an_idempotency_key_returns_the_first_execution().await;
    suite.claims_are_exclusive_under_64_concurrent_claimers().await;
    suite.claims_take_the_oldest_that_fits().await;
    suite.a_claimer_hides_nothing_that_it_does_not_take().await;
    suite.a_stale_attempt_is_fenced().await;
    suite.an_expired_lease_requeues_or_loses().await;
    suite.ten_reapers_take_every_expired_lease_once().await;
    suite.a_heartbeat_renews_and_tells_what_was_cancelled().await;
    suite.cancelling_ends_what_waits_and_asks_what_runs().await;
    suite.giving_back_does_not_use_up_an_attempt().await;
    suite.what_is_said_again_because_the_answer_was_lost_changes_nothing().await;
    suite.every_json_value_comes_back().await;
    suite.log_pieces_come_back_in_order_and_by_offset().await;
    suite.lists_are_filtered_and_paged().await;
    suite.requirements_show_what_waits().await;
    suite.workers_come_and_go().await;
    suite.live_workers_of_one_name_stay_and_lost_ones_are_forgotten().await;
    suite.a_worker_may_register_again().await;
    suite.whoever_is_not_registered_claims_nothing().await;
    suite.a_cordoned_name_claims_nothing_until_that_is_undone().await;
    suite.runtimes_are_registered_once().await;
}

fn action(name: &str, runtime: &str, max_attempts: u32) -> Action {
    serde_json::from_value(json!({
        "ref": name, "label": "", "description": "", "enabled": true, "runner_type": runtime, "entry_point": "run.sh",
        "parameters": {}, "parameter_delivery": "stdin", "parameter_format": "json", "output_format": "text",
        "max_attempts": max_attempts,
    }))
    .expect("an action")
}

fn fence(execution: &Execution) -> Fence {
    Fence {
        execution: execution.id,
        attempt: execution.attempt,
        worker: execution.worker.expect("it was claimed"),
    }
}

fn piece(offset: u64, stream: LogStream, data: &[u8]) -> NewLogChunk {
    NewLogChunk { offset, stream, data: data.to_vec() }
}

impl Suite {
    async fn push(&self, version: &str, digest: &str) {
        let runtimes = ["shell", "python", "node", "ruby", "go", "java", "r", "perl"];
        let actions: Vec<Action> = runtimes
            .iter()
            .flat_map(|runtime| {
                [
                    action(&format!("suite.once-{runtime}"), runtime, 1),
                    action(&format!("suite.thrice-{runtime}"), runtime, 3),
                ]
            })
            .collect();
        let count = u32::try_from(actions.len()).unwrap();
        let pack = NewPack {
            r#ref: "suite".to_owned(),
            version: version.to_owned(),
            label: "a pack".to_owned(),
            description: String::new(),
            digest: digest.to_owned(),
            archive: digest.as_bytes().to_vec(),
            actions,
        };
        let pushed = self.store.push_pack(pack).await.unwrap();
        assert_eq!((pushed.digest.as_str(), pushed.actions), (digest, count));
    }

    async fn worker(&self) -> WorkerId {
        let id = WorkerId::new();
        self.register(id, &format!("worker-{id}"), LONG).await;
        id
    }

    async fn register(&self, id: WorkerId, name: &str, heartbeat_interval: Duration) {
        self.agent.register_worker(new_worker(id, name, heartbeat_interval)).await.unwrap();
    }

    /// A start of a worker that is lost by the time anybody looks.
    async fn silent_worker(&self, name: &str) -> WorkerId {
        let id = WorkerId::new();
        self.register(id, name, Duration::ZERO).await;
        // one that is forgotten already was lost before
        while self.find(id).await.is_some_and(|worker| worker.status != WorkerStatus::Lost) {}
        id
    }

    async fn find(&self, id: WorkerId) -> Option<Worker> {
        self.store.workers().await.unwrap().into_iter().find(|worker| worker.id == id)
    }

    async fn submit(&self, action: &str) -> Execution {
        let new = NewExecution {
            action: action.parse().unwrap(),
            parameters: Parameters::default(),
            idempotency_key: None,
        };
        let submission = self.store.submit(new).await.unwrap();
        assert!(submission.created);
        assert_eq!(submission.execution.status, ExecutionStatus::Queued);
        submission.execution
    }

    async fn started(&self, action: &str, lease: Duration) -> Execution {
        let queued = self.submit(action).await;
        let worker = self.worker().await;
        self.agent.claim(worker, queued.id, lease).await.unwrap().expect("it was queued")
    }

    async fn status(&self, id: ExecutionId) -> ExecutionStatus {
        self.store.execution(id).await.unwrap().expect("it exists").status
    }

    /// Reaps until an execution has been taken: its lease has to be over by the database's clock first.
    async fn reap_until_taken(&self, id: ExecutionId) -> ExecutionStatus {
        loop {
            let reaped = self.agent.reap().await.unwrap();
            if let Some(taken) = reaped.iter().find(|one| one.execution == id) {
                return taken.status;
            }
        }
    }

    async fn packs_are_replaced_and_archives_stay(&self) {
        let before = self.submit("suite.once-perl").await;
        self.push("2.0.0", "digest-2").await;
        let packs = self.store.packs().await.unwrap();
        assert_eq!((packs.len(), packs[0].version.as_str(), packs[0].actions), (1, "2.0.0", 16));
        assert_eq!(self.store.actions(Some("suite")).await.unwrap().len(), 16);
        assert_eq!(self.store.actions(Some("other")).await.unwrap().len(), 0);
        assert!(self.store.action(&"suite.once-perl".parse().unwrap()).await.unwrap().is_some());
        // what was submitted before runs as it was then
        let still = self.store.execution(before.id).await.unwrap().unwrap();
        assert_eq!(still.pack_digest, "digest-1");
        assert_eq!(self.agent.pack_archive("digest-1").await.unwrap().unwrap(), b"digest-1");
        assert_eq!(self.agent.pack_archive("digest-3").await.unwrap(), None);
        let unknown = NewExecution {
            action: "suite.nothing".parse().unwrap(),
            parameters: Parameters::default(),
            idempotency_key: None,
        };
        assert!(matches!(self.store.submit(unknown).await, Err(StoreError::NotFound(_))));
        self.store.request_cancel(before.id).await.unwrap();
    }

    async fn an_idempotency_key_returns_the_first_execution(&self) {
        let mut contenders = JoinSet::new();
        for number in 0..16 {
            let store = self.store.clone();
            contenders.spawn(async move {
                let Value::Object(parameters) = json!({"number": number}) else { unreachable!() };
                let new = NewExecution {
                    action: "suite.once-ruby".parse().unwrap(),
                    parameters: Parameters(parameters),
                    idempotency_key: Some("deploy-42".to_owned()),
                };
                store.submit(new).await.unwrap()
            });
        }
        let submissions = contenders.join_all().await;
        assert_eq!(submissions.iter().filter(|one| one.created).count(), 1);
        let ids: HashSet<ExecutionId> = submissions.iter().map(|one| one.execution.id).collect();
        assert_eq!(ids.len(), 1);
        self.store.request_cancel(submissions[0].execution.id).await.unwrap();
    }

    async fn claims_are_exclusive_under_64_concurrent_claimers(&self) {
        const EXECUTIONS: usize = 40;
        for _ in 0..EXECUTIONS {
            self.submit("suite.once-go").await;
        }
        let of: Vec<Requirement> = vec!["go".parse().unwrap()];
        let mut claimers = JoinSet::new();
        for number in 0..64 {
            let worker = self.worker().await;
            let store = if number % 2 == 0 { self.store.clone() } else { self.agent.clone() };
            let of = of.clone();
            claimers.spawn(async move {
                let mut claimed = Vec::new();
                while let Some(execution) = store.claim_next(worker, &of, LONG).await.unwrap() {
                    assert_eq!((execution.status, execution.attempt), (ExecutionStatus::Running, 1));
                    assert_eq!(execution.worker, Some(worker));
                    claimed.push(execution.id);
                }
                claimed
            });
        }
        let claimed: Vec<ExecutionId> = claimers.join_all().await.into_iter().flatten().collect();
        assert_eq!(claimed.len(), EXECUTIONS, "every execution is claimed");
        assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), EXECUTIONS, "by one worker only");

        // the same for one execution that everybody is told of
        let one = self.submit("suite.once-go").await.id;
        let mut claimers = JoinSet::new();
        for _ in 0..64 {
            let (store, worker) = (self.agent.clone(), self.worker().await);
            claimers.spawn(async move { store.claim(worker, one, LONG).await.unwrap().is_some() });
        }
        assert_eq!(claimers.join_all().await.into_iter().filter(|won| *won).count(), 1);
    }

    async fn claims_take_the_oldest_that_fits(&self) {
        let worker = self.worker().await;
        let (first, second, other) = (
            self.submit("suite.once-java").await,
            self.submit("suite.once-r").await,
            self.submit("suite.once-java").await,
        );
        let both: Vec<Requirement> = vec!["r".parse().unwrap(), "java".parse().unwrap()];
        let only_r: Vec<Requirement> = vec!["r".parse().unwrap()];
        assert!(
            self.agent.claim_next(worker, &[], LONG).await.unwrap().is_none(),
            "nothing fits no requirement"
        );
        assert_eq!(self.agent.claim_next(worker, &both, LONG).await.unwrap().unwrap().id, first.id);
        assert_eq!(self.agent.claim_next(worker, &only_r, LONG).await.unwrap().unwrap().id, second.id);
        assert_eq!(self.agent.claim_next(worker, &both, LONG).await.unwrap().unwrap().id, other.id);
        assert!(self.agent.claim_next(worker, &both, LONG).await.unwrap().is_none());
        let known = self.agent.known_requirements().await.unwrap();
        assert!(both.iter().all(|one| known.contains(one)));
    }

    async fn a_claimer_hides_nothing_that_it_does_not_take(&self) {
        let (java, r): (Requirement, Requirement) = ("java".parse().unwrap(), "r".parse().unwrap());
        for round in 0..20 {
            let (first, second) = (self.submit("suite.once-java").await, self.submit("suite.once-r").await);
            let (both, only_r) = (vec![r.clone(), java.clone()], vec![r.clone()]);
            let (one, other) = (self.worker().await, self.worker().await);
            // the one that may take either takes the older, whatever the other is doing
            let (taken, left) = tokio::join!(
                self.agent.claim_next(one, &both, LONG),
                self.store.claim_next(other, &only_r, LONG)
            );
            let ids = (taken.unwrap().map(|one| one.id), left.unwrap().map(|one| one.id));
            assert_eq!(ids, (Some(first.id), Some(second.id)), "round {round}");
        }
    }

    async fn a_stale_attempt_is_fenced(&self) {
        let first = self.started("suite.thrice-shell", EXPIRED).await;
        assert_eq!(self.reap_until_taken(first.id).await, ExecutionStatus::Queued);
        let worker = self.worker().await;
        let again = self.agent.claim(worker, first.id, LONG).await.unwrap().unwrap();
        assert_eq!(again.attempt, 2);
        let (stale, current) = (fence(&first), fence(&again));
        let artifact = || Artifact {
            path: "größe/a \"b\".csv".to_owned(),
            size: u64::from(u32::MAX) + 1,
            sha256: "0a1b".to_owned(),
            media_type: "text/csv".to_owned(),
        };
        let outcome =
            || Outcome { exit_code: Some(0), artifacts: vec![artifact(), artifact()], ..Outcome::default() };
        let log = || vec![piece(0, LogStream::Stdout, b"stale")];
        let fenced = |result| assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
        fenced(self.agent.append_log(stale, log()).await);
        fenced(self.agent.finish(stale, ExecutionStatus::Succeeded, outcome(), log()).await);
        fenced(self.agent.release(stale).await);
        fenced(
            self.agent
                .finish(Fence { worker: stale.worker, ..current }, ExecutionStatus::Failed, outcome(), vec![])
                .await,
        );
        assert!(
            self.store.read_log(first.id, 1, 0, 1000).await.unwrap().is_empty(),
            "nothing of a fenced write stays"
        );
        self.agent.finish(current, ExecutionStatus::Succeeded, outcome(), vec![]).await.unwrap();
        fenced(self.agent.finish(current, ExecutionStatus::Failed, outcome(), vec![]).await);
        let ended = self.store.execution(first.id).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.outcome), (ExecutionStatus::Succeeded, Some(outcome())));
        assert!(ended.finished_at.unwrap() >= ended.started_at.unwrap());
    }

    async fn an_expired_lease_requeues_or_loses(&self) {
        let once = self.started("suite.once-shell", EXPIRED).await;
        assert_eq!(self.reap_until_taken(once.id).await, ExecutionStatus::Lost);
        let lost = self.store.execution(once.id).await.unwrap().unwrap();
        assert!(lost.finished_at.is_some());
        let worker = self.find(once.worker.unwrap()).await.unwrap();
        let told = |name: &str, since: &str| {
            format!("worker {name} was not heard of since {since} while it ran attempt 1")
        };
        let since = worker.heartbeat_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        assert_eq!(lost.outcome.unwrap().error.unwrap(), told(&worker.name, &since));

        // of a worker that is forgotten, only the end of the lease is known
        let forgotten = self.started("suite.once-shell", EXPIRED).await;
        self.agent.deregister_worker(forgotten.worker.unwrap()).await.unwrap();
        assert_eq!(self.reap_until_taken(forgotten.id).await, ExecutionStatus::Lost);
        let ended = forgotten.lease_expires_at.unwrap().strftime("before %Y-%m-%dT%H:%M:%SZ").to_string();
        let lost = self.store.execution(forgotten.id).await.unwrap().unwrap();
        assert_eq!(lost.outcome.unwrap().error.unwrap(), told(&forgotten.worker_name.unwrap(), &ended));

        let thrice = self.started("suite.thrice-shell", EXPIRED).await;
        for attempt in 1..=3 {
            let expected = if attempt < 3 { ExecutionStatus::Queued } else { ExecutionStatus::Lost };
            assert_eq!(self.reap_until_taken(thrice.id).await, expected, "attempt {attempt}");
            let claimed = self.agent.claim(self.worker().await, thrice.id, EXPIRED).await.unwrap();
            assert_eq!(claimed.map(|one| one.attempt), (attempt < 3).then_some(attempt + 1));
        }

        let cancelled = self.started("suite.thrice-shell", EXPIRED).await;
        self.store.request_cancel(cancelled.id).await.unwrap();
        assert_eq!(self.reap_until_taken(cancelled.id).await, ExecutionStatus::Cancelled);

        let alive = self.started("suite.thrice-shell", LONG).await;
        assert!(self.agent.reap().await.unwrap().iter().all(|one| one.execution != alive.id));
        assert_eq!(self.status(alive.id).await, ExecutionStatus::Running);
    }

    async fn ten_reapers_take_every_expired_lease_once(&self) {
        let mut expired = HashMap::new();
        for _ in 0..15 {
            let (lost, requeued) = (
                self.started("suite.once-perl", EXPIRED).await,
                self.started("suite.thrice-perl", EXPIRED).await,
            );
            expired.insert(lost.id, ExecutionStatus::Lost);
            expired.insert(requeued.id, ExecutionStatus::Queued);
        }
        let mut taken = Vec::new();
        while taken.len() < expired.len() {
            let mut reapers = JoinSet::new();
            for number in 0..10 {
                let store = if number % 2 == 0 { self.store.clone() } else { self.agent.clone() };
                reapers.spawn(async move { store.reap().await.unwrap() });
            }
            taken.extend(reapers.join_all().await.into_iter().flatten());
        }
        assert_eq!(taken.len(), expired.len(), "each is told to one reaper");
        let taken: HashMap<_, _> = taken.into_iter().map(|one| (one.execution, one.status)).collect();
        assert_eq!(taken, expired);
        for (id, status) in expired {
            let execution = self.store.execution(id).await.unwrap().unwrap();
            let left = if status == ExecutionStatus::Lost { 0 } else { 2 };
            assert_eq!((execution.status, execution.attempt, execution.attempts_left), (status, 1, left));
            self.store.request_cancel(id).await.unwrap();
        }
    }

    async fn a_heartbeat_renews_and_tells_what_was_cancelled(&self) {
        let execution = self.started("suite.once-shell", EXPIRED).await;
        let worker = execution.worker.unwrap();
        let held = self.agent.heartbeat(worker, LONG).await.unwrap().leases;
        assert_eq!(held.len(), 1);
        assert!(!held[0].cancel_requested);
        assert!(
            self.agent.reap().await.unwrap().iter().all(|one| one.execution != execution.id),
            "the lease was renewed"
        );
        self.store.request_cancel(execution.id).await.unwrap();
        assert!(self.agent.held(worker).await.unwrap()[0].cancel_requested);
        assert!(self.agent.heartbeat(worker, LONG).await.unwrap().leases[0].cancel_requested);
        self.agent
            .finish(fence(&execution), ExecutionStatus::Cancelled, Outcome::default(), vec![])
            .await
            .unwrap();
        assert!(self.agent.heartbeat(worker, LONG).await.unwrap().leases.is_empty());
        assert!(matches!(self.agent.heartbeat(WorkerId::new(), LONG).await, Err(StoreError::NotFound(_))));
    }

    async fn cancelling_ends_what_waits_and_asks_what_runs(&self) {
        let waiting = self.submit("suite.once-shell").await;
        let cancelled = self.store.request_cancel(waiting.id).await.unwrap().unwrap();
        assert_eq!(cancelled.status, ExecutionStatus::Cancelled);
        assert!(cancelled.finished_at.is_some() && cancelled.started_at.is_none());
        assert!(self.agent.claim(self.worker().await, waiting.id, LONG).await.unwrap().is_none());

        let running = self.started("suite.once-shell", LONG).await;
        let asked = self.store.request_cancel(running.id).await.unwrap().unwrap();
        assert_eq!((asked.status, asked.cancel_requested), (ExecutionStatus::Running, true));
        // it may still succeed: the end that comes first counts
        self.agent
            .finish(fence(&running), ExecutionStatus::Succeeded, Outcome::default(), vec![])
            .await
            .unwrap();
        let ended = self.store.request_cancel(running.id).await.unwrap().unwrap();
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "what has ended stays as it is");
        assert!(self.store.request_cancel(ExecutionId::new()).await.unwrap().is_none());
    }

    async fn giving_back_does_not_use_up_an_attempt(&self) {
        let execution = self.started("suite.once-shell", LONG).await;
        self.agent.release(fence(&execution)).await.unwrap();
        assert_eq!(self.status(execution.id).await, ExecutionStatus::Queued);
        let again = self.agent.claim(self.worker().await, execution.id, LONG).await.unwrap().unwrap();
        assert_eq!((again.attempt, again.attempts_left), (2, 0));
        self.agent.finish(fence(&again), ExecutionStatus::Failed, Outcome::default(), vec![]).await.unwrap();

        // nor does it start again what somebody asked to end
        let cancelled = self.started("suite.thrice-shell", LONG).await;
        self.store.request_cancel(cancelled.id).await.unwrap();
        self.agent.release(fence(&cancelled)).await.unwrap();
        let ended = self.store.execution(cancelled.id).await.unwrap().unwrap();
        assert_eq!(ended.status, ExecutionStatus::Cancelled);
        assert!(ended.finished_at.is_some() && ended.outcome.unwrap().error.unwrap().contains("cancelled"));
    }

    async fn what_is_said_again_because_the_answer_was_lost_changes_nothing(&self) {
        let execution = self.started("suite.once-shell", LONG).await;
        let fence = fence(&execution);
        let outcome = || Outcome { exit_code: Some(0), ..Outcome::default() };
        for _ in 0..2 {
            self.agent.append_log(fence, vec![piece(0, LogStream::Stdout, b"once")]).await.unwrap();
        }
        let mut ended = Vec::new();
        for _ in 0..2 {
            let log = vec![piece(0, LogStream::Stdout, b"once"), piece(4, LogStream::Stdout, b" only")];
            self.agent.finish(fence, ExecutionStatus::Succeeded, outcome(), log).await.unwrap();
            ended.push(self.store.execution(execution.id).await.unwrap().unwrap());
        }
        assert_eq!(ended[0], ended[1]);
        let chunks = self.store.read_log(execution.id, 1, 0, 1000).await.unwrap();
        let log: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.data).collect();
        assert_eq!(log, b"once only");
        // another outcome is no repetition
        let other = Outcome { exit_code: Some(1), ..Outcome::default() };
        let late = self.agent.finish(fence, ExecutionStatus::Succeeded, other, vec![]).await;
        assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    }

    async fn every_json_value_comes_back(&self) {
        let value = json!({
            "nul \0": "\0 and \u{fdd0}, \u{fdd0}0",
            "text": "it's \"two\"\nlines \\ \u{7f} \u{feff} \u{ffff} 🦀",
            "numbers": [0, -1, u64::MAX, i64::MIN, 0.1, -1.5e-7, 123_456.789],
            "empty": [{}, [], "", null, false],
        });
        let Value::Object(parameters) = value.clone() else { unreachable!() };
        let new = NewExecution {
            action: "suite.once-shell".parse().unwrap(),
            parameters: Parameters(parameters.clone()),
            idempotency_key: None,
        };
        let id = self.store.submit(new).await.unwrap().execution.id;
        let claimed = self.agent.claim(self.worker().await, id, LONG).await.unwrap().unwrap();
        assert_eq!(claimed.parameters.0, parameters);
        let outcome =
            Outcome { error: Some("a \0 in words".to_owned()), result: Some(value), ..Outcome::default() };
        self.agent.finish(fence(&claimed), ExecutionStatus::Failed, outcome.clone(), vec![]).await.unwrap();
        assert_eq!(self.store.execution(id).await.unwrap().unwrap().outcome, Some(outcome));
    }

    async fn log_pieces_come_back_in_order_and_by_offset(&self) {
        let execution = self.started("suite.once-shell", LONG).await;
        let (id, fence) = (execution.id, fence(&execution));
        let bytes: Vec<u8> = (0..=255).collect();
        self.agent
            .append_log(
                fence,
                vec![piece(0, LogStream::Stdout, b"one "), piece(4, LogStream::Stderr, b"two ")],
            )
            .await
            .unwrap();
        self.agent.append_log(fence, vec![piece(8, LogStream::Stdout, &bytes)]).await.unwrap();
        self.agent
            .finish(
                fence,
                ExecutionStatus::Succeeded,
                Outcome::default(),
                vec![piece(264, LogStream::System, b"end")],
            )
            .await
            .unwrap();
        let read = |from, most| self.store.read_log(id, 1, from, most);
        let all = read(0, 10_000).await.unwrap();
        let whole: Vec<u8> = all.iter().flat_map(|chunk| chunk.data.clone()).collect();
        assert_eq!(whole, [b"one two ".as_slice(), &bytes, b"end"].concat());
        assert_eq!(
            all.iter().map(|chunk| chunk.stream).collect::<Vec<_>>(),
            [LogStream::Stdout, LogStream::Stderr, LogStream::Stdout, LogStream::System]
        );
        for from in [1, 4, 6, 8, 100, 263, 264, 266] {
            let part = read(from, 10_000).await.unwrap();
            assert_eq!(part[0].offset, from);
            let rest: Vec<u8> = part.iter().flat_map(|chunk| chunk.data.clone()).collect();
            assert_eq!(rest, whole[from as usize..], "from {from}");
        }
        assert_eq!(read(0, 1).await.unwrap().len(), 1, "there is always progress");
        assert!(read(267, 10_000).await.unwrap().is_empty());
        assert!(self.store.read_log(id, 2, 0, 10_000).await.unwrap().is_empty());
    }

    async fn lists_are_filtered_and_paged(&self) {
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(self.submit("suite.thrice-node").await.id);
        }
        ids.reverse();
        let list = |filter: ExecutionFilter| async move {
            let found = self.store.executions(&filter).await.unwrap();
            found.into_iter().map(|one| one.id).collect::<Vec<_>>()
        };
        let of_action = || ExecutionFilter {
            action: Some("suite.thrice-node".parse().unwrap()),
            ..ExecutionFilter::default()
        };
        assert_eq!(list(of_action()).await, ids, "the newest first");
        assert_eq!(list(ExecutionFilter { limit: 2, ..of_action() }).await, ids[..2]);
        assert_eq!(list(ExecutionFilter { before: Some(ids[1]), ..of_action() }).await, ids[2..]);
        self.store.request_cancel(ids[0]).await.unwrap();
        let queued = ExecutionFilter { statuses: vec![ExecutionStatus::Queued], ..of_action() };
        assert_eq!(list(queued).await, ids[1..]);
    }

    async fn requirements_show_what_waits(&self) {
        let first = self.submit("suite.once-python").await;
        self.submit("suite.thrice-python").await;
        let running = self.submit("suite.once-python").await;
        self.agent.claim(self.worker().await, running.id, LONG).await.unwrap().unwrap();
        let loads = self.store.requirements().await.unwrap();
        let python = loads.iter().find(|load| load.requirement.to_string() == "python").unwrap();
        assert_eq!((python.waiting, python.running), (2, 1));
        assert_eq!(python.oldest_waiting, Some(first.created_at));
    }

    async fn workers_come_and_go(&self) {
        let id = self.worker().await;
        let status = async |id| self.find(id).await.unwrap().status;
        assert_eq!(status(id).await, WorkerStatus::Online);
        self.agent.drain_worker(id).await.unwrap();
        assert_eq!(status(id).await, WorkerStatus::Draining);
        self.agent.deregister_worker(id).await.unwrap();
        assert!(self.find(id).await.is_none());
        // each is held against its own interval; being lost outweighs everything else
        let silent = self.silent_worker("silent").await;
        self.agent.drain_worker(silent).await.unwrap();
        while status(silent).await != WorkerStatus::Lost {}
    }

    async fn live_workers_of_one_name_stay_and_lost_ones_are_forgotten(&self) {
        let lost = [self.silent_worker("twin").await, self.silent_worker("twin").await];
        let other = self.silent_worker("another").await;
        let live = [WorkerId::new(), WorkerId::new()];
        self.register(live[0], "twin", LONG).await;
        self.register(live[1], "twin", LONG).await;
        for id in lost {
            assert!(self.find(id).await.is_none(), "it was lost, and another start took its name");
            assert!(matches!(self.agent.heartbeat(id, LONG).await, Err(StoreError::NotFound(_))));
        }
        assert!(self.find(other).await.is_some(), "it has another name");
        for id in live {
            assert_eq!(self.find(id).await.unwrap().status, WorkerStatus::Online);
            self.agent.heartbeat(id, LONG).await.unwrap();
        }
        // starts at the same moment neither wait for each other for ever nor fail
        let mut starts = JoinSet::new();
        for _ in 0..10 {
            self.silent_worker("twin").await;
            let agent = self.agent.clone();
            starts
                .spawn(async move { agent.register_worker(new_worker(WorkerId::new(), "twin", LONG)).await });
        }
        assert!(starts.join_all().await.into_iter().all(|registered| registered.is_ok()));
    }

    async fn a_worker_may_register_again(&self) {
        let id = self.silent_worker("again").await;
        let before = self.find(id).await.unwrap();
        let mut changed = new_worker(id, "again", LONG);
        changed.slots = 7;
        changed.capabilities.taints = ["dedicated=ml".parse().unwrap()].into();
        changed.capabilities.memory_bytes = Some(1 << 33);
        self.agent.register_worker(changed.clone()).await.unwrap();
        let after = self.find(id).await.unwrap();
        assert_eq!((after.status, after.slots), (WorkerStatus::Online, 7));
        assert_eq!(after.capabilities, changed.capabilities);
        assert!(after.registered_at > before.registered_at);
    }

    async fn whoever_is_not_registered_claims_nothing(&self) {
        let id = self.submit("suite.once-shell").await.id;
        let forgotten = self.worker().await;
        self.agent.deregister_worker(forgotten).await.unwrap();
        assert!(self.agent.claim(forgotten, id, LONG).await.unwrap().is_none());
        self.store.request_cancel(id).await.unwrap();
    }

    async fn a_cordoned_name_claims_nothing_until_that_is_undone(&self) {
        let (first, second) = (WorkerId::new(), WorkerId::new());
        self.register(first, "cordoned", LONG).await;
        let kept = self.submit("suite.once-shell").await.id;
        self.agent.claim(first, kept, LONG).await.unwrap().expect("nothing is in its way yet");
        let id = self.submit("suite.once-shell").await.id;
        let shell: Vec<Requirement> = vec!["shell".parse().unwrap()];

        self.store.cordon_worker("cordoned", "new disk").await.unwrap();
        self.register(second, "cordoned", LONG).await;
        for worker in [first, second] {
            let shown = self.find(worker).await.unwrap();
            assert_eq!(
                (shown.status, shown.cordon.unwrap().reason.as_str()),
                (WorkerStatus::Cordoned, "new disk")
            );
            assert!(self.agent.claim(worker, id, LONG).await.unwrap().is_none());
            assert!(self.agent.claim_next(worker, &shell, LONG).await.unwrap().is_none());
        }
        let heartbeat = self.agent.heartbeat(first, LONG).await.unwrap();
        assert!(heartbeat.cordoned && heartbeat.leases.len() == 1, "what runs goes on");
        self.store.cordon_worker("cordoned", "it is late").await.unwrap();
        assert_eq!(self.find(first).await.unwrap().cordon.unwrap().reason, "it is late");
        let other = self.worker().await;
        assert!(!self.agent.heartbeat(other, LONG).await.unwrap().cordoned);

        // the cordon outlives every worker of the name
        for worker in [first, second] {
            self.agent.deregister_worker(worker).await.unwrap();
        }
        self.register(second, "cordoned", LONG).await;
        assert!(self.agent.claim(second, id, LONG).await.unwrap().is_none());

        for _ in 0..2 {
            self.store.uncordon_worker("cordoned").await.unwrap();
        }
        assert_eq!(self.find(second).await.unwrap().status, WorkerStatus::Online);
        assert!(!self.agent.heartbeat(second, LONG).await.unwrap().cordoned);
        self.agent.claim(second, id, LONG).await.unwrap().expect("it takes work again");

        for refused in
            [self.store.cordon_worker("nobody", "").await, self.store.uncordon_worker("nobody").await]
        {
            assert!(matches!(&refused, Err(StoreError::NotFound(_))), "{refused:?}");
        }
        // a name that nobody has any more, but that is cordoned
        self.store.cordon_worker("cordoned", "").await.unwrap();
        self.agent.deregister_worker(second).await.unwrap();
        self.store.uncordon_worker("cordoned").await.unwrap();
        assert!(matches!(self.store.uncordon_worker("cordoned").await, Err(StoreError::NotFound(_))));
    }

    async fn runtimes_are_registered_once(&self) {
        let offering = |name: &str, runtimes: &[&str]| {
            let mut worker = new_worker(WorkerId::new(), name, LONG);
            worker.capabilities.runtimes = runtimes
                .iter()
                .map(|runtime| RuntimeCapability {
                    name: (*runtime).to_owned(),
                    interpreters: vec![InterpreterCapability {
                        path: format!("/bin/{runtime}"),
                        version: None,
                    }],
                })
                .collect();
            self.agent.register_worker(worker)
        };
        offering("one", &["python", "lua"]).await.unwrap();
        let before = self.store.runtimes().await.unwrap();
        offering("two", &["lua", "shell", "python"]).await.unwrap();
        let after = self.store.runtimes().await.unwrap();
        let rows: Vec<_> = after
            .iter()
            .map(|one| (one.name.as_str(), one.label.as_str(), one.built_in, one.registered_by.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("lua", "lua", false, "one"),
                ("python", "Python", true, "one"),
                ("shell", "POSIX shell", true, "two")
            ]
        );
        assert_eq!(after[..2], before);
    }
}
