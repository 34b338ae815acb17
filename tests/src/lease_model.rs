//! Leases and fencing as a model small enough to try everything: one execution, two workers, and the conditions of the store.
//!
//! A paused worker, a slow network and an answer that was lost are the same to the store: a request that arrives late, or again.
//! So every request that anybody could ever have sent may arrive at any time, any number of times ([`requests`]), and also some
//! that nobody would send. [`explore`] tries all of it, breadth-first, and names the shortest way to break a rule.
//!
//! [`crate::lease_replay`] shows that the real stores do what the model does.

mod exploration;

use attune_common::model::ExecutionStatus;

pub use self::exploration::{Explored, explore};

/// Workers of the model.
pub const WORKERS: usize = 2;

/// How often the execution may be started.
pub const MAX_ATTEMPTS: i8 = 2;

/// One condition of the store's statements. The model can do without one of them, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Only what is queued is claimed.
    ClaimNeedsQueued,
    /// A write names the attempt.
    FenceNamesAttempt,
    /// A write names the worker.
    FenceNamesWorker,
    /// A write needs a running execution.
    FenceNeedsRunning,
    /// Only a lease that has expired is taken away.
    ReapNeedsExpired,
    /// Only while attempts are left it goes back to the queue.
    ReapCountsAttempts,
    /// What was cancelled is not queued again by those who take it away.
    ReapHeedsCancellation,
    /// What was cancelled is not queued again by those who give it back.
    ReleaseHeedsCancellation,
    /// What has ended is not cancelled.
    CancelNeedsNoEnd,
    /// Only the same outcome again is no fault.
    RepetitionNeedsSameOutcome,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 10] = [
        Self::ClaimNeedsQueued,
        Self::FenceNamesAttempt,
        Self::FenceNamesWorker,
        Self::FenceNeedsRunning,
        Self::ReapNeedsExpired,
        Self::ReapCountsAttempts,
        Self::ReapHeedsCancellation,
        Self::ReleaseHeedsCancellation,
        Self::CancelNeedsNoEnd,
        Self::RepetitionNeedsSameOutcome,
    ];
}

/// What a write of an attempt names, besides the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The attempt.
    pub attempt: i8,
    /// Place of the worker.
    pub worker: usize,
}

/// What a worker says about the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It succeeded.
    Succeeded,
    /// It succeeded, too, but with another result.
    SucceededOtherwise,
    /// It was cancelled.
    Cancelled,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::SucceededOtherwise, Self::Cancelled];

    /// The status that goes with it.
    #[must_use]
    pub fn status(self) -> ExecutionStatus {
        match self {
            Self::Succeeded | Self::SucceededOtherwise => ExecutionStatus::Succeeded,
            Self::Cancelled => ExecutionStatus::Cancelled,
        }
    }
}

/// What happens to the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A worker asks for it.
    Claim(usize),
    /// A worker says that it lives.
    Heartbeat(usize),
    /// The time of a worker's leases is over.
    Expire(usize),
    /// Somebody takes away what has expired.
    Reap,
    /// An outcome arrives.
    Finish(Fence, Ending),
    /// It is given back.
    Release(Fence),
    /// Somebody asks for its end.
    RequestCancel,
}

/// What the store says how the execution ended, or what became of its last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// What its worker said.
    Finished(Ending),
    /// The worker of this attempt fell silent.
    NotHeardOf(i8),
    /// It was cancelled while nobody ran it.
    CancelledUnstarted,
}

/// The execution, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Where it stands.
    pub status: ExecutionStatus,
    /// Number of the current or last attempt.
    pub attempt: i8,
    /// How many more times it may be started.
    pub attempts_left: i8,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// Worker of the current or last attempt.
    pub worker: Option<usize>,
    /// Whether the time of the lease is over, when there is a lease.
    pub lease_expired: Option<bool>,
    /// What was recorded.
    pub outcome: Option<Outcome>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            status: ExecutionStatus::Queued,
            attempt: 0,
            attempts_left: MAX_ATTEMPTS,
            cancel_requested: false,
            worker: None,
            lease_expired: None,
            outcome: None,
        }
    }
}

impl Row {
    /// Whether a write with this fence is one of the current attempt.
    #[must_use]
    pub fn is_current(&self, fence: Fence) -> bool {
        self.passes(fence, None)
    }

    fn passes(&self, fence: Fence, without: Option<Condition>) -> bool {
        let holds = |condition, fulfilled: bool| fulfilled || without == Some(condition);
        holds(Condition::FenceNamesAttempt, self.attempt == fence.attempt)
            && holds(Condition::FenceNamesWorker, self.worker == Some(fence.worker))
            && holds(Condition::FenceNeedsRunning, self.status == ExecutionStatus::Running)
    }

    /// Does what the store's statement does, perhaps without one of its conditions. Tells whether the caller is told that it
    /// was done: the claim won, the outcome is recorded, the lease is held or was taken away.
    pub fn apply(&mut self, event: Event, without: Option<Condition>) -> bool {
        let holds = |condition, fulfilled: bool| fulfilled || without == Some(condition);
        let queued = self.status == ExecutionStatus::Queued;
        match event {
            Event::Claim(worker) => {
                let takes = holds(Condition::ClaimNeedsQueued, queued);
                if takes {
                    self.status = ExecutionStatus::Running;
                    self.attempt += 1;
                    self.attempts_left -= 1;
                    self.worker = Some(worker);
                    self.lease_expired = Some(false);
                }
                takes
            }
            // one that was not taken away yet is renewed as well
            Event::Heartbeat(worker) => self.set_expired(worker, false),
            Event::Expire(worker) => self.set_expired(worker, true),
            Event::Reap => {
                let takes = holds(Condition::ReapNeedsExpired, self.lease_expired == Some(true))
                    && self.lease_expired.is_some();
                if takes {
                    self.outcome = Some(Outcome::NotHeardOf(self.attempt));
                    self.lease_expired = None;
                    self.status =
                        if self.cancel_requested && without != Some(Condition::ReapHeedsCancellation) {
                            ExecutionStatus::Cancelled
                        } else if holds(Condition::ReapCountsAttempts, self.attempts_left > 0) {
                            ExecutionStatus::Queued
                        } else {
                            ExecutionStatus::Lost
                        };
                }
                takes
            }
            Event::Finish(fence, ending) => {
                if self.passes(fence, without) {
                    self.status = ending.status();
                    self.outcome = Some(Outcome::Finished(ending));
                    self.lease_expired = None;
                    return true;
                }
                // the first answer was lost
                self.attempt == fence.attempt
                    && self.worker == Some(fence.worker)
                    && self.status == ending.status()
                    && holds(
                        Condition::RepetitionNeedsSameOutcome,
                        self.outcome == Some(Outcome::Finished(ending)),
                    )
            }
            Event::Release(fence) => {
                let takes = self.passes(fence, without);
                if takes {
                    self.lease_expired = None;
                    self.attempts_left += 1;
                    self.status = ExecutionStatus::Queued;
                    if self.cancel_requested && without != Some(Condition::ReleaseHeedsCancellation) {
                        self.status = ExecutionStatus::Cancelled;
                        self.outcome = Some(Outcome::CancelledUnstarted);
                    }
                }
                takes
            }
            Event::RequestCancel => {
                if holds(Condition::CancelNeedsNoEnd, !self.status.is_final()) {
                    self.cancel_requested = true;
                    let unstarted = self.status != ExecutionStatus::Running;
                    self.outcome = unstarted.then_some(Outcome::CancelledUnstarted);
                    if unstarted {
                        self.status = ExecutionStatus::Cancelled;
                    }
                }
                true
            }
        }
    }

    fn set_expired(&mut self, worker: usize, expired: bool) -> bool {
        let held = self.status == ExecutionStatus::Running && self.worker == Some(worker);
        if held {
            self.lease_expired = Some(expired);
        }
        held
    }

    /// What kind of step this is, without the numbers: two that differ here differ in what the store has to decide.
    #[must_use]
    pub fn kind_of_step(&self, event: Event, accepted: bool, after: &Self) -> String {
        let fence = |fence: Fence| {
            let attempt = if fence.attempt == self.attempt { "this" } else { "an earlier" };
            let worker = if self.worker == Some(fence.worker) { "its" } else { "another" };
            format!("{attempt} attempt by {worker} worker")
        };
        let event = match event {
            Event::Claim(_) => "claim".to_owned(),
            Event::Heartbeat(worker) if self.worker == Some(worker) => "heartbeat of its worker".to_owned(),
            Event::Heartbeat(_) => "heartbeat of another worker".to_owned(),
            Event::Expire(_) => "time passes".to_owned(),
            Event::Reap => "reap".to_owned(),
            Event::Finish(of, ending) => {
                let same = self.outcome == Some(Outcome::Finished(ending));
                format!("finish as {}{}, {}", ending.status(), if same { " again" } else { "" }, fence(of))
            }
            Event::Release(of) => format!("release, {}", fence(of)),
            Event::RequestCancel => "request to cancel".to_owned(),
        };
        let expired = if self.lease_expired == Some(true) { ", expired" } else { "" };
        let cancelled = if self.cancel_requested { ", cancellation asked for" } else { "" };
        let answer = if accepted { "accepted" } else { "refused" };
        format!("{}{expired}{cancelled}: {event} -> {answer}, {}", self.status, after.status)
    }
}

/// Every event that may happen to an execution with this many attempts so far.
#[must_use]
pub fn requests(attempts: i8) -> Vec<Event> {
    let mut all = vec![Event::Reap, Event::RequestCancel];
    for worker in 0..WORKERS {
        all.extend([Event::Claim(worker), Event::Heartbeat(worker), Event::Expire(worker)]);
        for attempt in 1..=attempts {
            let fence = Fence { attempt, worker };
            all.push(Event::Release(fence));
            all.extend(Ending::ALL.map(|ending| Event::Finish(fence, ending)));
        }
    }
    all
}
