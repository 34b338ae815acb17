//! Who registers, and with what.

use std::time::{Duration, Instant};

use attune_common::{
    model::{
        WorkerId, WorkerStatus,
        worker::{InterpreterCapability, RuntimeCapability},
    },
    store::StoreError,
};
use tokio::task::JoinSet;

use super::{LONG, Suite};
use crate::seeding::new_worker;

impl Suite {
    pub(super) async fn workers_come_and_go(&self) {
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

    /// Whoever looks before the third heartbeat is missed must see it online, and nobody who looks after that.
    pub(super) async fn three_missed_heartbeats_make_a_worker_lost(&self) {
        // times in the store are of milliseconds
        let (interval, exact) = (Duration::from_millis(300), Duration::from_millis(10));
        let id = WorkerId::new();
        let before = Instant::now();
        self.register(id, "missed", interval).await;
        let registered = Instant::now();
        loop {
            let asked = Instant::now();
            match self.find(id).await.unwrap().status {
                WorkerStatus::Lost => {
                    break assert!(before.elapsed() + exact > interval * 3, "it had missed fewer than three");
                }
                _ => assert!(asked - registered < interval * 3 + exact, "it has missed more than three"),
            }
        }
    }

    pub(super) async fn live_workers_of_one_name_stay_and_lost_ones_are_forgotten(&self) {
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
        // nobody will ever come for the name of a container that is gone
        let gone = WorkerId::new();
        self.register(gone, "a container", Duration::ZERO).await;
        while self.find(gone).await.is_some() {
            self.worker().await;
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

    pub(super) async fn a_worker_may_register_again(&self) {
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

    pub(super) async fn runtimes_are_registered_once(&self) {
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
