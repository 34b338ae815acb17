//! Whether the worker lives and is ready, as a state that its parts set and that probes read.
//!
//! A worker is ready while every [`Condition`] holds. A new one holds only once its part has said so, and one that says for
//! how long it holds falls by itself: a part that hangs or is gone is seen without its help. A worker lives while its
//! [`Loop`]s turn. [`server`] answers probes over HTTP, [`check`] asks for containers that have no other client, and
//! [`metrics`] counts.

pub mod check;
pub mod metrics;
pub mod server;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use metrics::Metrics;

/// How long a loop may wait for one answer of the store: longer than any store lets a statement or a connection wait.
pub const STUCK_AFTER: Duration = Duration::from_mins(1);

/// What must hold for a worker to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The store knows the worker.
    Registered,
    /// The doorbell is heard.
    Doorbell,
    /// The store has answered a heartbeat within the time that a lease lasts.
    Heartbeat,
    /// New work is taken; a draining worker takes none.
    TakingWork,
}

impl Condition {
    /// Every condition, in the order in which a starting worker comes to hold them.
    pub const ALL: [Self; 4] = [Self::Registered, Self::Doorbell, Self::Heartbeat, Self::TakingWork];

    /// The name that probes and metrics show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Doorbell => "doorbell",
            Self::Heartbeat => "heartbeat",
            Self::TakingWork => "taking_work",
        }
    }
}

/// What may be less than it could be though a worker is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// How it hears of work.
    Doorbell,
    /// What it offers.
    Runtimes,
}

impl Reservation {
    const COUNT: usize = 2;
}

/// What must keep turning for a worker to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// The service: takes executions and sees them end.
    Service,
    /// The heartbeat.
    Heartbeat,
}

impl Loop {
    const ALL: [Self; 2] = [Self::Service, Self::Heartbeat];

    fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service loop",
            Self::Heartbeat => "heartbeat loop",
        }
    }
}

#[derive(Clone, Debug)]
enum Standing {
    Unmet(Cow<'static, str>),
    Met,
    MetUntil { since: Instant, lasts: Duration },
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Instant,
    within: Duration,
}

#[derive(Debug)]
struct State {
    conditions: [Standing; Condition::ALL.len()],
    turns: [Option<Turn>; Loop::ALL.len()],
    reservations: [Option<String>; Reservation::COUNT],
}

/// The health of one worker, shared by all who set it and all who ask.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<Mutex<State>>,
    metrics: Arc<Metrics>,
}

impl Default for Health {
    fn default() -> Self {
        let state = State {
            conditions: Condition::ALL.map(|_| Standing::Unmet("not yet".into())),
            turns: [None; Loop::ALL.len()],
            reservations: Default::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), metrics: Arc::default() }
    }
}

impl Health {
    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Everything that is counted, and the conditions, as text for Prometheus.
    ///
    /// # Errors
    /// When the text cannot be made.
    pub fn metrics_text(&self) -> Result<String, prometheus::Error> {
        let conditions = self.conditions(Instant::now());
        self.metrics.text(conditions.into_iter().map(|(one, unmet)| (one.as_str(), unmet.is_none())))
    }

    /// Says that a condition holds until something else is said.
    pub fn met(&self, condition: Condition) {
        self.state().conditions[condition as usize] = Standing::Met;
    }

    /// Says that a condition holds, but has to be said again within a time.
    pub fn met_for(&self, condition: Condition, lasts: Duration) {
        self.state().conditions[condition as usize] = Standing::MetUntil { since: Instant::now(), lasts };
    }

    /// Says that a condition does not hold, and why. The reason is read by anybody who can reach the probes.
    pub fn unmet(&self, condition: Condition, reason: impl Into<Cow<'static, str>>) {
        self.state().conditions[condition as usize] = Standing::Unmet(reason.into());
    }

    /// Says what is less than it could be though the worker is ready, or that nothing is any more.
    pub fn set_reservation(&self, about: Reservation, what: Option<String>) {
        self.state().reservations[about as usize] = what;
    }

    /// What is less than it could be though the worker is ready.
    #[must_use]
    pub fn reservations(&self) -> Option<String> {
        let told: Vec<String> = self.state().reservations.iter().flatten().cloned().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Says that a loop turns, and within what time it turns again. A loop that has never turned has not started.
    pub fn turned(&self, part: Loop, within: Duration) {
        self.state().turns[part as usize] = Some(Turn { at: Instant::now(), within });
    }

    /// Whether the worker is ready.
    ///
    /// # Errors
    /// Every condition that does not hold, with its reason, in one line.
    pub fn ready(&self, now: Instant) -> Result<(), String> {
        let unmet: Vec<String> = self
            .conditions(now)
            .into_iter()
            .filter_map(|(condition, unmet)| Some(format!("{}: {}", condition.as_str(), unmet?)))
            .collect();
        if unmet.is_empty() { Ok(()) } else { Err(unmet.join("; ")) }
    }

    /// Every condition, with the reason of those that do not hold.
    fn conditions(&self, now: Instant) -> Vec<(Condition, Option<Cow<'static, str>>)> {
        let state = self.state();
        let reason = |standing: &Standing| match standing {
            Standing::Met => None,
            Standing::Unmet(reason) => Some(reason.clone()),
            Standing::MetUntil { since, lasts } => {
                let age = now.saturating_duration_since(*since);
                (age > *lasts).then(|| format!("silent for {} s", age.as_secs()).into())
            }
        };
        Condition::ALL.into_iter().zip(&state.conditions).map(|(one, at)| (one, reason(at))).collect()
    }

    /// Whether the worker lives: every loop that has started still turns.
    ///
    /// # Errors
    /// Every loop that does not, in one line.
    pub fn live(&self, now: Instant) -> Result<(), String> {
        let turns = self.state().turns;
        let stuck: Vec<String> = Loop::ALL
            .into_iter()
            .zip(turns)
            .filter_map(|(part, turn)| {
                let turn = turn?;
                let age = now.saturating_duration_since(turn.at);
                (age > turn.within)
                    .then(|| format!("{}: has not turned for {} s", part.as_str(), age.as_secs()))
            })
            .collect();
        if stuck.is_empty() { Ok(()) } else { Err(stuck.join("; ")) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // every change is a single step, so that a panic elsewhere leaves the state whole
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_new_worker_lives_and_is_not_ready() {
        let health = Health::default();
        let now = Instant::now();
        assert_eq!(health.live(now), Ok(()));
        let missing = "registered: not yet; doorbell: not yet; heartbeat: not yet; taking_work: not yet";
        assert_eq!(health.ready(now), Err(missing.to_owned()));
    }

    #[test]
    fn a_worker_is_ready_while_every_condition_holds() {
        for missing in Condition::ALL {
            let health = Health::default();
            for condition in Condition::ALL {
                health.met(condition);
            }
            assert_eq!(health.ready(Instant::now()), Ok(()));
            health.unmet(missing, "gone");
            assert_eq!(health.ready(Instant::now()), Err(format!("{}: gone", missing.as_str())));
            health.met(missing);
            assert_eq!(health.ready(Instant::now()), Ok(()));
        }
    }

    #[test]
    fn a_condition_that_lasts_for_a_time_falls_by_itself() {
        let health = Health::default();
        for condition in Condition::ALL {
            health.met(condition);
        }
        health.met_for(Condition::Heartbeat, 30 * SECOND);
        let said = Instant::now();
        assert_eq!(health.ready(said + 29 * SECOND), Ok(()));
        assert_eq!(health.ready(said + 31 * SECOND), Err("heartbeat: silent for 31 s".to_owned()));
    }

    #[test]
    fn a_worker_lives_while_its_loops_turn_whether_it_is_ready_or_not() {
        let health = Health::default();
        health.turned(Loop::Service, 10 * SECOND);
        let said = Instant::now();
        assert_eq!(health.live(said + 9 * SECOND), Ok(()));
        health.turned(Loop::Heartbeat, 60 * SECOND);
        assert_eq!(health.live(said + 12 * SECOND), Err("service loop: has not turned for 12 s".to_owned()));
        health.turned(Loop::Service, 10 * SECOND);
        assert_eq!(health.live(Instant::now()), Ok(()));
    }
}
