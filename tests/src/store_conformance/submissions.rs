//! Packs, and what is submitted of them until somebody takes it.

use std::{collections::HashSet, time::Duration};

use attune_common::{
    model::{ExecutionId, ExecutionStatus, Outcome, Parameters},
    store::{ExecutionFilter, NewExecution, StoreError},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{LONG, Suite, fence};
use crate::waiting;

impl Suite {
    pub(super) async fn packs_are_replaced_and_archives_stay(&self) {
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

    pub(super) async fn an_idempotency_key_returns_the_first_execution(&self) {
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

    pub(super) async fn every_json_value_comes_back(&self) {
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

    pub(super) async fn lists_are_filtered_and_paged(&self) {
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

    pub(super) async fn requirements_show_what_waits(&self) {
        let first = self.submit("suite.once-python").await;
        self.submit("suite.thrice-python").await;
        let running = self.submit("suite.once-python").await;
        self.agent.claim(self.worker().await, running.id, LONG).await.unwrap().unwrap();
        let loads = self.store.requirements().await.unwrap();
        let python = loads.iter().find(|load| load.requirement.to_string() == "python").unwrap();
        assert_eq!((python.waiting, python.running), (2, 1));
        assert_eq!(python.oldest_waiting, Some(first.created_at));
    }

    pub(super) async fn the_oldest_that_wait_are_told_by_requirement(&self) {
        let mut perl = Vec::new();
        for _ in 0..3 {
            perl.push(self.submit("suite.once-perl").await.id);
        }
        let java = self.submit("suite.once-java").await.id;
        let told = async |than, each| {
            let mut told = self.store.oldest_waiting(than, each).await.unwrap();
            // what other parts of the suite left
            told.retain(|(requirement, _)| ["perl", "java"].contains(&requirement.runtime()));
            told.into_iter().map(|(requirement, ids)| (requirement.to_string(), ids)).collect::<Vec<_>>()
        };
        assert_eq!(told(LONG, 2).await, [], "nothing has waited for that long");
        let expected = [("java".to_owned(), vec![java]), ("perl".to_owned(), perl[..2].to_vec())];
        // the stores count in milliseconds
        let all = async || (told(Duration::ZERO, 2).await == expected).then_some(());
        waiting::found("the clock to go on", all).await;
        for id in perl.into_iter().chain([java]) {
            self.store.request_cancel(id).await.unwrap();
        }
        assert_eq!(told(Duration::ZERO, 2).await, [], "nothing waits any more");
    }

    pub(super) async fn how_long_it_runs_is_told_by_the_stores_clock(&self) {
        let running = self.started("suite.once-shell", LONG).await;
        assert_eq!(Some(running.read_at), running.started_at, "it is told by the statement that started it");
        let later = self.store.execution(running.id).await.unwrap().unwrap();
        assert!(later.read_at >= running.read_at);
        assert_eq!(later.started_at, running.started_at);
    }

    pub(super) async fn cancelling_ends_what_waits_and_asks_what_runs(&self) {
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
}
