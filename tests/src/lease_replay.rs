//! The events of [`crate::lease_model`] on a real store: after every step it must hold what the model holds.

use std::{collections::BTreeSet, fmt::Write, sync::Arc, time::Duration};

use attune_common::{
    model::{Execution, ExecutionId, ExecutionStatus, Outcome, Parameters, WorkerId},
    requirement::Requirement,
    store::{self, NewExecution, Store, StoreError},
};

use serde_json::json;

use crate::{
    lease_model::{self, Ending, Event, Fence, MAX_ATTEMPTS, Row, WORKERS, explore, requests},
    seeding::{new_worker, push_action},
};

/// Executions of a walk: what is done to one leaves the others alone, except what is done to all.
const EXECUTIONS: usize = 2;

/// Steps of a walk.
const STEPS: usize = 40;

/// Walks that are enough to see every kind of step many times over.
const MOST_WALKS: usize = 1000;

/// A lease that does not expire while a test runs.
const LONG: Duration = Duration::from_hours(1);

/// Longer than the smallest unit of time of any store.
const INSTANT: Duration = Duration::from_millis(2);

/// Walks at random through the events, with what `choose` chooses from each number of possibilities, at least so many times and
/// until every kind of step was seen that the model has. What workers do is done through `agent`.
/// Tells how many walks it were.
pub async fn replay(
    store: Arc<dyn Store>,
    agent: Arc<dyn Store>,
    walks: usize,
    mut choose: impl FnMut(usize) -> usize,
) -> usize {
    push_action(&*store, "model.twice", MAX_ATTEMPTS.unsigned_abs().into()).await;
    let mut unseen = explore(None).expect("the model keeps its rules").kinds;
    let mut walk = 0;
    loop {
        if walk >= walks && unseen.is_empty() {
            return walk;
        }
        assert!(walk < MOST_WALKS, "these steps of the model were never seen: {unseen:#?}");
        Walk::start(&store, &agent).await.go(&mut choose, &mut unseen).await;
        walk += 1;
    }
}

struct Walk<'a> {
    store: &'a dyn Store,
    agent: &'a dyn Store,
    workers: Vec<WorkerId>,
    executions: Vec<(ExecutionId, Row)>,
    /// What happened so far, for whoever has to find out what went wrong.
    story: String,
}

impl<'a> Walk<'a> {
    async fn start(store: &'a Arc<dyn Store>, agent: &'a Arc<dyn Store>) -> Self {
        let (mut workers, mut executions) = (Vec::new(), Vec::new());
        for _ in 0..WORKERS {
            let id = WorkerId::new();
            let worker = new_worker(id, &format!("worker-{id}"), LONG);
            agent.register_worker(worker).await.expect("it registers");
            workers.push(id);
        }
        for _ in 0..EXECUTIONS {
            let new = NewExecution {
                action: "model.twice".parse().expect("a ref"),
                parameters: Parameters::default(),
                idempotency_key: None,
            };
            let submission = store.submit(new).await.expect("it is queued");
            executions.push((submission.execution.id, Row::default()));
        }
        Self { store: &**store, agent: &**agent, workers, executions, story: String::new() }
    }

    async fn go(mut self, choose: &mut impl FnMut(usize) -> usize, unseen: &mut BTreeSet<String>) {
        for _ in 0..STEPS {
            let at = choose(EXECUTIONS);
            let event = self.next_event(at, choose, unseen);
            let _ = writeln!(self.story, "{at}: {event:?}");
            let told = self.really(at, event).await;
            for place in 0..EXECUTIONS {
                let concerns_all = matches!(event, Event::Heartbeat(_) | Event::Expire(_) | Event::Reap);
                if place == at || concerns_all {
                    let row = &mut self.executions[place].1;
                    let before = row.clone();
                    let accepted = row.apply(event, None);
                    assert_eq!(
                        told.contains(&place),
                        accepted,
                        "what the store answers about {place} at the end of\n{}",
                        self.story
                    );
                    unseen.remove(&before.kind_of_step(event, accepted, row));
                }
                self.compare(place).await;
            }
        }
        // claim_next of the next walk shall find nothing of this one
        for (id, _) in &self.executions {
            self.store.request_cancel(*id).await.expect("it answers");
        }
    }

    /// Often a kind of step that was not seen yet, if there is one; else something that may lead to one: what ends
    /// an execution is rare.
    fn next_event(
        &self,
        at: usize,
        choose: &mut impl FnMut(usize) -> usize,
        unseen: &BTreeSet<String>,
    ) -> Event {
        let row = &self.executions[at].1;
        let is_new = |event: &Event| {
            let mut after = row.clone();
            let accepted = after.apply(*event, None);
            unseen.contains(&row.kind_of_step(*event, accepted, &after))
        };
        let new: Vec<Event> = requests(row.attempt).into_iter().filter(is_new).collect();
        if !new.is_empty() && choose(4) > 0 {
            return new[choose(new.len())];
        }
        let worker = choose(WORKERS);
        let mut fence = Fence { attempt: 1 + choose(row.attempt.max(1) as usize) as i8, worker };
        if let Some(worker) = row.worker.filter(|_| choose(2) == 0) {
            fence = Fence { attempt: row.attempt, worker };
        }
        match choose(12) {
            0..=2 => Event::Claim(worker),
            3 => Event::Heartbeat(worker),
            4..=6 => Event::Expire(worker),
            7 | 8 => Event::Reap,
            9 => Event::Finish(fence, Ending::ALL[choose(Ending::ALL.len())]),
            10 => Event::Release(fence),
            _ => Event::RequestCancel,
        }
    }

    /// Does it, and returns the places of the executions for which the store says that it was done.
    async fn really(&self, at: usize, event: Event) -> Vec<usize> {
        let (agent, id) = (self.agent, self.executions[at].0);
        let only = |done: bool| if done { vec![at] } else { vec![] };
        match event {
            Event::Claim(worker) => only(self.claim(at, self.workers[worker]).await),
            Event::Heartbeat(worker) => self.heartbeat(worker, LONG).await,
            Event::Expire(worker) => {
                let held = self.heartbeat(worker, Duration::ZERO).await;
                tokio::time::sleep(INSTANT).await;
                held
            }
            Event::Reap => {
                let reaped = agent.reap().await.expect("it answers");
                reaped.iter().filter_map(|one| self.place(one.execution)).collect()
            }
            Event::Finish(fence, ending) => {
                let written =
                    agent.finish(self.real(id, fence), ending.status(), outcome(ending), vec![]).await;
                only(unless_fenced(written))
            }
            Event::Release(fence) => {
                let released = agent.release(self.real(id, fence), Outcome::default(), vec![]).await;
                only(unless_fenced(released))
            }
            Event::RequestCancel => only(self.store.request_cancel(id).await.expect("it answers").is_some()),
        }
    }

    /// The oldest one that waits is also claimed as workers do it, the others by their ids.
    async fn claim(&self, at: usize, worker: WorkerId) -> bool {
        let oldest = self.executions.iter().position(|(_, row)| row.status == ExecutionStatus::Queued);
        let id = self.executions[at].0;
        let claimed = if oldest == Some(at) {
            let shell: Requirement = "shell".parse().expect("a requirement");
            self.agent.claim_next(worker, &[shell], LONG).await
        } else {
            self.agent.claim(worker, id, LONG).await
        };
        let claimed = claimed.expect("it answers");
        assert!(claimed.as_ref().is_none_or(|one| one.id == id), "{claimed:?} at the end of\n{}", self.story);
        claimed.is_some()
    }

    async fn heartbeat(&self, worker: usize, lease: Duration) -> Vec<usize> {
        let held = self.agent.heartbeat(self.workers[worker], lease).await.expect("it is registered");
        held.leases.iter().filter_map(|lease| self.place(lease.execution)).collect()
    }

    fn place(&self, id: ExecutionId) -> Option<usize> {
        self.executions.iter().position(|(one, _)| *one == id)
    }

    fn real(&self, execution: ExecutionId, fence: Fence) -> store::Fence {
        store::Fence { execution, attempt: fence.attempt as u32, worker: self.workers[fence.worker] }
    }

    async fn compare(&self, place: usize) {
        let (id, row) = &self.executions[place];
        let real = self.store.execution(*id).await.expect("it answers").expect("it exists");
        let worker = |id| self.workers.iter().position(|worker| *worker == id);
        let seen = Row {
            status: real.status,
            attempt: real.attempt as i8,
            attempts_left: real.attempts_left as i8,
            cancel_requested: real.cancel_requested,
            worker: real.worker.and_then(worker),
            // whether its time is over shows when it is reaped
            lease_expired: real.lease_expires_at.and(row.lease_expired),
            outcome: recorded(&real),
        };
        assert_eq!(&seen, row, "what the store has as {place} at the end of\n{}", self.story);
        assert_eq!(real.finished_at.is_some(), row.status.is_final(), "{real:?}");
        assert_eq!(real.started_at.is_some(), row.attempt > 0, "{real:?}");
    }
}

fn unless_fenced(result: store::Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(StoreError::Fenced) => false,
        Err(error) => panic!("{error}"),
    }
}

fn outcome(ending: Ending) -> Outcome {
    Outcome { result: Some(json!(format!("{ending:?}"))), ..Outcome::default() }
}

/// What the store recorded, in the model's words.
fn recorded(real: &Execution) -> Option<lease_model::Outcome> {
    let recorded = real.outcome.as_ref()?;
    if let Some(ending) = Ending::ALL.into_iter().find(|ending| *recorded == outcome(*ending)) {
        return Some(lease_model::Outcome::Finished(ending));
    }
    let text = recorded.error.as_deref().unwrap_or_default();
    if text.starts_with("cancelled before it") {
        return Some(lease_model::Outcome::CancelledUnstarted);
    }
    let attempt = text.contains("was not heard of").then(|| text.rsplit_once(" attempt ")).flatten();
    let attempt = attempt.and_then(|(_, attempt)| attempt.parse().ok());
    Some(lease_model::Outcome::NotHeardOf(attempt.unwrap_or_else(|| panic!("{recorded:?}"))))
}
