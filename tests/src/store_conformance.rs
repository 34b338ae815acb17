//! What every store must do, written once. A test hands over a fresh store as the API opens it, and the same data as an agent
//! opens it: what agents do is done through that handle.

mod claims;
mod leases;
mod logs;
mod submissions;
mod workers;

use std::{sync::Arc, time::Duration};

use attune_common::{
    model::{
        Action, Execution, ExecutionId, ExecutionStatus, LogStream, Parameters, Worker, WorkerId,
        WorkerStatus,
    },
    store::{Fence, NewExecution, NewLogChunk, NewPack, Store},
};
use serde_json::json;

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
    suite.the_oldest_that_wait_are_told_by_requirement().await;
    suite.how_long_it_runs_is_told_by_the_stores_clock().await;
    suite.workers_come_and_go().await;
    suite.three_missed_heartbeats_make_a_worker_lost().await;
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
        self.register(id, name, Duration::from_millis(10)).await;
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
}
