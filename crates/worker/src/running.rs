//! What the worker runs now, shared between the service, the heartbeat and the executions themselves.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use attune_common::{model::ExecutionId, store::HeldLease};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::process::EndReason;

/// A running execution, as seen from outside.
#[derive(Clone, Debug)]
struct Entry {
    attempt: u32,
    /// Until when nobody else can have it.
    lease_until: Instant,
    end: watch::Sender<Option<EndReason>>,
}

/// Running executions by id, and whether more may be taken.
#[derive(Clone, Debug, Default)]
pub struct Running {
    executions: Arc<Mutex<HashMap<ExecutionId, Entry>>>,
    /// Told when there may be a lease that ends earlier than all others.
    added: Arc<Notify>,
    cordoned: watch::Sender<bool>,
}

impl Running {
    /// Adds an execution, which stays until the returned value is dropped. Its lease lasts until `lease_until`: count from before
    /// the store was asked for it.
    #[must_use]
    pub fn add(&self, id: ExecutionId, attempt: u32, lease_until: Instant) -> Held {
        let (end, _) = watch::channel(None);
        self.entries().insert(id, Entry { attempt, lease_until, end: end.clone() });
        self.added.notify_one();
        Held { running: self.clone(), id, attempt, end }
    }

    /// Says whether the worker is cordoned. Whoever watches is told of changes only.
    pub fn set_cordoned(&self, cordoned: bool) {
        let changed =
            self.cordoned.send_if_modified(|current| std::mem::replace(current, cordoned) != cordoned);
        if changed {
            tracing::info!(cordoned, "the cordon around this worker's name has changed");
        }
    }

    /// Watches whether the worker is cordoned.
    #[must_use]
    pub fn cordon(&self) -> watch::Receiver<bool> {
        self.cordoned.subscribe()
    }

    /// Every running attempt.
    #[must_use]
    pub fn attempts(&self) -> Vec<(ExecutionId, u32)> {
        self.entries().iter().map(|(id, entry)| (*id, entry.attempt)).collect()
    }

    /// Asks everything to end.
    pub fn end_all(&self, reason: EndReason) {
        for entry in self.entries().values() {
            ask(&entry.end, reason);
        }
    }

    /// Says until when these leases were renewed.
    pub fn renew(&self, held: &[HeldLease], lease_until: Instant) {
        let mut entries = self.entries();
        for lease in held {
            if let Some(entry) =
                entries.get_mut(&lease.execution).filter(|entry| entry.attempt == lease.attempt)
            {
                entry.lease_until = lease_until;
            }
        }
    }

    /// Ends everything in the moment in which its lease ends, whatever the store or the heartbeat wait for: from then on somebody
    /// else may run it. Never returns.
    pub async fn end_what_expires(self) -> Infallible {
        loop {
            let next = self.first_end();
            let added = self.added.notified();
            match next {
                None => added.await,
                Some(lease_until) => {
                    tokio::select! {
                        () = added => {}
                        () = tokio::time::sleep_until(lease_until) => self.end_expired(),
                    }
                }
            }
        }
    }

    fn end_expired(&self) {
        let now = Instant::now();
        for entry in self.entries().values().filter(|entry| entry.lease_until <= now) {
            ask(&entry.end, EndReason::LeaseLost);
        }
    }

    /// When the first lease ends of those that are not lost yet.
    fn first_end(&self) -> Option<Instant> {
        let entries = self.entries();
        let held = entries.values().filter(|entry| *entry.end.borrow() != Some(EndReason::LeaseLost));
        held.map(|entry| entry.lease_until).min()
    }

    /// Ends what was cancelled, and what was running before the store was asked (`before`) but is held no longer.
    pub fn follow(&self, before: &[(ExecutionId, u32)], held: &[HeldLease]) {
        let entries = self.entries();
        for lease in held.iter().filter(|lease| lease.cancel_requested) {
            if let Some(entry) = entries.get(&lease.execution).filter(|entry| entry.attempt == lease.attempt)
            {
                ask(&entry.end, EndReason::Cancelled);
            }
        }
        for (id, attempt) in before {
            let still_held = held.iter().any(|lease| lease.execution == *id && lease.attempt == *attempt);
            if let Some(entry) = entries.get(id).filter(|entry| entry.attempt == *attempt && !still_held) {
                ask(&entry.end, EndReason::LeaseLost);
            }
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Entry>> {
        // every change is a single step, so that a panic elsewhere leaves the map whole
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that is under way. Dropping it, also in a panic, says that it is no longer.
#[derive(Debug)]
pub struct Held {
    running: Running,
    id: ExecutionId,
    attempt: u32,
    end: watch::Sender<Option<EndReason>>,
}

impl Held {
    /// The channel that carries the reason to end it.
    #[must_use]
    pub fn end(&self) -> watch::Sender<Option<EndReason>> {
        self.end.clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut entries = self.running.entries();
        // a newer attempt of the same execution stays
        if entries.get(&self.id).is_some_and(|entry| entry.attempt == self.attempt) {
            entries.remove(&self.id);
        }
    }
}

/// The first reason stays, unless the lease is lost: then nothing may be recorded any more.
fn ask(end: &watch::Sender<Option<EndReason>>, reason: EndReason) {
    end.send_if_modified(|current| {
        let change = current.is_none() || (reason == EndReason::LeaseLost && *current != Some(reason));
        if change {
            *current = Some(reason);
        }
        change
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[tokio::test]
    async fn a_lease_that_ends_ends_what_runs_and_one_that_is_renewed_does_not() {
        let running = Running::default();
        let (expired, renewed, long, short) =
            (ExecutionId::new(), ExecutionId::new(), ExecutionId::new(), ExecutionId::new());
        let long = running.add(long, 1, later());
        let [expired, held] = [expired, renewed].map(|id| running.add(id, 1, Instant::now()));
        running.renew(&[HeldLease { execution: renewed, attempt: 1, cancel_requested: false }], later());
        let watching = tokio::spawn(running.clone().end_what_expires());
        let lost = async |held: &Held| {
            let mut end = held.end().subscribe();
            end.wait_for(|reason| *reason == Some(EndReason::LeaseLost)).await.unwrap();
        };
        lost(&expired).await;
        // one that is added later and ends earlier than all others
        lost(&running.add(short, 1, Instant::now() + Duration::from_millis(5))).await;
        assert_eq!([&held, &long].map(|held| *held.end().borrow()), [None, None]);
        watching.abort();
    }

    #[test]
    fn leases_that_are_gone_end_what_runs_and_new_claims_are_left_alone() {
        let running = Running::default();
        let (kept, lost, cancelled, new) =
            (ExecutionId::new(), ExecutionId::new(), ExecutionId::new(), ExecutionId::new());
        let known = [kept, lost, cancelled].map(|id| running.add(id, 1, later()));
        let before = running.attempts();
        // claimed while the store was being asked: its answer cannot know it
        let claimed = running.add(new, 1, later());
        let held = |execution, cancel_requested| HeldLease { execution, attempt: 1, cancel_requested };
        running.follow(&before, &[held(kept, false), held(cancelled, true)]);
        let reasons = known.map(|held| *held.end().borrow());
        assert_eq!(reasons, [None, Some(EndReason::LeaseLost), Some(EndReason::Cancelled)]);
        assert_eq!(*claimed.end().borrow(), None);
    }

    #[test]
    fn only_a_cordon_that_changes_is_told() {
        let running = Running::default();
        let cordon = running.cordon();
        for (cordoned, told) in [(false, false), (true, true), (true, true), (false, true)] {
            running.set_cordoned(cordoned);
            assert_eq!((*cordon.borrow(), cordon.has_changed().unwrap()), (cordoned, told));
        }
    }

    #[test]
    fn a_newer_attempt_is_another_one() {
        let running = Running::default();
        let id = ExecutionId::new();
        let first = running.add(id, 1, later());
        let second = running.add(id, 2, later());
        drop(first);
        assert_eq!(running.attempts(), [(id, 2)]);
        running.follow(&[(id, 1)], &[HeldLease { execution: id, attempt: 2, cancel_requested: false }]);
        assert_eq!(*second.end().borrow(), None);
        drop(second);
        assert!(running.attempts().is_empty());
    }
}
