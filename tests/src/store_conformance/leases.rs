//! What becomes of an execution whose worker falls silent, is late, or says something twice.

use std::collections::HashMap;

use attune_common::{
    model::{Artifact, Execution, ExecutionStatus, LogStream, Outcome, WorkerId},
    store::{Fence, StoreError},
};
use tokio::task::JoinSet;

use super::{EXPIRED, LONG, Suite, fence, piece};

impl Suite {
    pub(super) async fn a_stale_attempt_is_fenced(&self) {
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
        fenced(self.agent.release(stale, outcome(), log()).await);
        fenced(
            self.agent
                .finish(Fence { worker: stale.worker, ..current }, ExecutionStatus::Failed, outcome(), vec![])
                .await,
        );
        assert!(
            self.store.read_log(first.id, 1, 0, 1000).await.unwrap().is_empty(),
            "nothing of a fenced write stays"
        );
        let earlier = self.store.earlier_attempts(first.id).await.unwrap();
        assert_eq!(earlier.len(), 1, "only the loss is recorded: {earlier:?}");
        self.agent.finish(current, ExecutionStatus::Succeeded, outcome(), vec![]).await.unwrap();
        fenced(self.agent.finish(current, ExecutionStatus::Failed, outcome(), vec![]).await);
        let ended = self.store.execution(first.id).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.outcome), (ExecutionStatus::Succeeded, Some(outcome())));
        assert!(ended.finished_at.unwrap() >= ended.started_at.unwrap());
    }

    pub(super) async fn an_expired_lease_requeues_or_loses(&self) {
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
        let ended = self.store.execution(thrice.id).await.unwrap().unwrap();
        let earlier = self.store.earlier_attempts(thrice.id).await.unwrap();
        assert_eq!(
            earlier.iter().map(|one| one.attempt).collect::<Vec<_>>(),
            [2, 1],
            "the third is the last"
        );
        assert_eq!(earlier[1].started_at, thrice.started_at.unwrap());
        assert_eq!(earlier[1].worker_name, thrice.worker_name);
        for one in earlier {
            let why = one.outcome.error.unwrap();
            assert!(why.ends_with(&format!("while it ran attempt {}", one.attempt)), "{why}");
            assert!(one.started_at <= one.ended_at && one.ended_at <= ended.finished_at.unwrap());
        }

        let cancelled = self.started("suite.thrice-shell", EXPIRED).await;
        self.store.request_cancel(cancelled.id).await.unwrap();
        assert_eq!(self.reap_until_taken(cancelled.id).await, ExecutionStatus::Cancelled);

        let alive = self.started("suite.thrice-shell", LONG).await;
        assert!(self.agent.reap().await.unwrap().iter().all(|one| one.execution != alive.id));
        assert_eq!(self.status(alive.id).await, ExecutionStatus::Running);
    }

    pub(super) async fn ten_reapers_take_every_expired_lease_once(&self) {
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

    pub(super) async fn a_heartbeat_renews_and_tells_what_was_cancelled(&self) {
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

    pub(super) async fn what_is_said_again_because_the_answer_was_lost_changes_nothing(&self) {
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
            let read = self.store.execution(execution.id).await.unwrap().unwrap();
            ended.push(Execution { read_at: execution.read_at, ..read });
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
}
