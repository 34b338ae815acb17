//! When a worker has done enough: `--once`, `--max-executions` and `--exit-when-idle`.

use std::time::Duration;

use attune_common::timer;
use tokio::{task::JoinError, time::Instant};

use crate::settings::ServiceLimits;

/// Shortest pause before a look that only idleness asks for: a store that fails at once is not asked without end.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Why a worker takes no more executions.
#[derive(Debug, thiserror::Error)]
pub(super) enum StopReason {
    /// By a signal, or by the program around it.
    #[error("told to stop")]
    Told,
    /// It has taken as many executions as it may.
    #[error("took as many executions as it may: {0}")]
    Executions(u32),
    /// There was nothing to do.
    #[error("nothing to run for {}", humantime::format_duration(*.0))]
    Idle(Duration),
    /// Everything that it could run turned out to be broken.
    #[error("no interpreter is left that runs scripts")]
    NothingToOffer,
    /// The task that renews its leases ended, which it never should.
    #[error("its heartbeat ended: {0}")]
    HeartbeatEnded(JoinError),
}

/// What a worker has done so far, held against its limits.
#[derive(Debug)]
pub(super) struct Progress {
    limits: ServiceLimits,
    claimed: u32,
    idle_since: Instant,
    looked_at: Option<Instant>,
}

impl Progress {
    pub(super) fn new(limits: ServiceLimits) -> Self {
        Self { limits, claimed: 0, idle_since: Instant::now(), looked_at: None }
    }

    /// How many executions were taken.
    pub(super) fn claimed(&self) -> u32 {
        self.claimed
    }

    /// Whether one more may be taken.
    pub(super) fn may_claim(&self) -> bool {
        self.limits.max_executions.is_none_or(|most| self.claimed < most)
    }

    /// One more was taken.
    pub(super) fn claim(&mut self) {
        self.claimed += 1;
    }

    /// Something happened: idleness starts anew.
    pub(super) fn restart_idleness(&mut self) {
        self.idle_since = Instant::now();
        self.looked_at = None;
    }

    /// The store has answered that there is nothing to take.
    pub(super) fn looked(&mut self) {
        self.looked_at = Some(Instant::now());
    }

    /// Whether the worker has done enough. `idle` is whether nothing runs.
    pub(super) fn enough(&self, idle: bool) -> Option<StopReason> {
        if !self.may_claim() {
            return Some(StopReason::Executions(self.claimed));
        }
        let limit = self.limits.exit_when_idle.filter(|_| idle)?;
        let looked_at_the_end = self.looked_at.is_some_and(|at| at >= self.idle_since + limit);
        looked_at_the_end.then_some(StopReason::Idle(limit))
    }

    /// Waits until it is time for the last look; for ever, when something runs or idleness is no reason to stop.
    pub(super) fn idle_for_long(&self, idle: bool) -> impl Future<Output = ()> + use<> {
        let limit = self.limits.exit_when_idle.filter(|_| idle);
        timer::at(limit.map(|limit| self.idle_since + limit.max(SHORTEST_PAUSE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(max_executions: Option<u32>, exit_when_idle: Option<Duration>) -> Progress {
        Progress::new(ServiceLimits { max_executions, exit_when_idle })
    }

    #[test]
    fn a_worker_without_limits_never_has_enough() {
        let mut progress = progress(None, None);
        for _ in 0..1000 {
            progress.claim();
            progress.looked();
            assert!(progress.may_claim() && progress.enough(true).is_none());
        }
    }

    #[test]
    fn no_more_is_taken_than_allowed() {
        let mut progress = progress(Some(2), None);
        progress.claim();
        assert!(progress.may_claim() && progress.enough(false).is_none());
        progress.claim();
        assert!(!progress.may_claim());
        let reason = progress.enough(false).map(|reason| reason.to_string());
        assert_eq!(reason.as_deref(), Some("took as many executions as it may: 2"));
    }

    #[test]
    fn only_a_look_at_the_end_of_the_time_makes_idle() {
        let limit = Duration::from_mins(1);
        let mut progress = progress(None, Some(limit));
        progress.looked();
        assert!(progress.enough(true).is_none(), "the time is not over");
        progress.idle_since -= limit;
        assert!(progress.enough(true).is_some());
        assert!(progress.enough(false).is_none(), "something runs");
        progress.looked_at = Some(progress.idle_since);
        assert!(progress.enough(true).is_none(), "nobody has looked since");
        progress.looked();
        progress.restart_idleness();
        assert!(progress.enough(true).is_none());
    }
}
