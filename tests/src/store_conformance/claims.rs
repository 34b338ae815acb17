//! Who gets an execution, and who gets none.

use std::collections::HashSet;

use attune_common::{
    model::{ExecutionId, ExecutionStatus, LogStream, Outcome, WorkerId, WorkerStatus},
    requirement::Requirement,
    store::StoreError,
};
use tokio::task::JoinSet;

use super::{LONG, Suite, fence, piece};

impl Suite {
    pub(super) async fn claims_are_exclusive_under_64_concurrent_claimers(&self) {
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

    pub(super) async fn claims_take_the_oldest_that_fits(&self) {
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

    pub(super) async fn a_claimer_hides_nothing_that_it_does_not_take(&self) {
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

    pub(super) async fn giving_back_does_not_use_up_an_attempt(&self) {
        let execution = self.started("suite.once-shell", LONG).await;
        let ended = || Outcome {
            signal: Some(15),
            peak_memory_bytes: Some(1),
            cpu_seconds: Some(0.5),
            ..Outcome::default()
        };
        let log = vec![piece(0, LogStream::Stdout, b"half")];
        self.agent.release(fence(&execution), ended(), log).await.unwrap();
        let log = self.store.read_log(execution.id, 1, 0, 1000).await.unwrap();
        assert_eq!(log.into_iter().flat_map(|chunk| chunk.data).collect::<Vec<_>>(), b"half");
        let earlier = self.store.earlier_attempts(execution.id).await.unwrap();
        let [given_back] = earlier.as_slice() else { panic!("one attempt: {earlier:?}") };
        assert_eq!((given_back.attempt, &given_back.worker_name), (1, &execution.worker_name));
        assert_eq!((given_back.started_at, &given_back.outcome), (execution.started_at.unwrap(), &ended()));
        assert_eq!(self.status(execution.id).await, ExecutionStatus::Queued);
        let again = self.agent.claim(self.worker().await, execution.id, LONG).await.unwrap().unwrap();
        assert_eq!((again.attempt, again.attempts_left), (2, 0));
        self.agent.finish(fence(&again), ExecutionStatus::Failed, Outcome::default(), vec![]).await.unwrap();

        // nor does it start again what somebody asked to end
        let cancelled = self.started("suite.thrice-shell", LONG).await;
        self.store.request_cancel(cancelled.id).await.unwrap();
        self.agent.release(fence(&cancelled), ended(), vec![]).await.unwrap();
        let cancelled = self.store.execution(cancelled.id).await.unwrap().unwrap();
        assert_eq!(cancelled.status, ExecutionStatus::Cancelled);
        let error = Some("cancelled before it was started again".to_owned());
        assert_eq!(cancelled.outcome.unwrap(), Outcome { error, ..ended() }, "that attempt was the last");
        assert!(cancelled.finished_at.is_some());
        assert!(self.store.earlier_attempts(cancelled.id).await.unwrap().is_empty());
    }

    pub(super) async fn whoever_is_not_registered_claims_nothing(&self) {
        let id = self.submit("suite.once-shell").await.id;
        let forgotten = self.worker().await;
        self.agent.deregister_worker(forgotten).await.unwrap();
        assert!(self.agent.claim(forgotten, id, LONG).await.unwrap().is_none());
        self.store.request_cancel(id).await.unwrap();
    }

    pub(super) async fn a_cordoned_name_claims_nothing_until_that_is_undone(&self) {
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
}
