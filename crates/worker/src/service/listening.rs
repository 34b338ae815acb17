//! Hearing the doorbell, and hearing it again after it was lost.

use std::{pin::Pin, sync::Arc, time::Duration};

use attune_common::{
    doorbell::{Doorbell, DoorbellError, Listener, Wake},
    requirement::Requirement,
    stagger::stagger,
};

use crate::health::{Condition, Health, Reservation};

/// Shortest pause before the next try.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

type Trying = Pin<Box<dyn Future<Output = Result<Box<dyn Listener>, DoorbellError>> + Send>>;

enum State {
    Trying(Trying),
    Hearing(Box<dyn Listener>),
}

/// The service's ear. It tells whether it hears, and as long as it does not, the store is looked at with every try.
pub(super) struct Listening {
    doorbell: Arc<dyn Doorbell>,
    state: State,
    pause: Duration,
    longest_pause: Duration,
    health: Health,
}

impl Listening {
    pub(super) fn new(doorbell: Arc<dyn Doorbell>, longest_pause: Duration, health: Health) -> Self {
        let state = State::Trying(listen(doorbell.clone(), Duration::ZERO));
        Self { doorbell, state, pause: FIRST_PAUSE, longest_pause, health }
    }

    /// Whether queued executions are offered one by one. Otherwise, also as long as nothing is heard, the store is to be looked at.
    pub(super) fn offers(&self) -> bool {
        matches!(&self.state, State::Hearing(listener) if listener.offers())
    }

    /// Asks for offers of executions with these requirements.
    pub(super) fn follow(&mut self, requirements: &[Requirement]) {
        if let State::Hearing(listener) = &mut self.state {
            listener.follow(requirements);
        }
    }

    /// Says whether an offer could be taken now.
    pub(super) fn accept(&mut self, wanted: bool) {
        if let State::Hearing(listener) = &mut self.state {
            listener.accept(wanted);
        }
    }

    /// Forgets what was asked for: listens anew.
    pub(super) fn forget(&mut self) {
        self.health.unmet(Condition::Doorbell, "not yet heard again");
        self.state = State::Trying(listen(self.doorbell.clone(), Duration::ZERO));
    }

    /// Waits for the next wake-up; the first one comes when it hears, or cannot. Cancel-safe.
    pub(super) async fn wake(&mut self) -> Wake {
        let lost = match &mut self.state {
            // kept between calls: connecting may take longer than anything else leaves it time
            State::Trying(trying) => match trying.await {
                Ok(listener) => {
                    // a broker may still refuse what is to be followed; it wakes when it does not
                    let only_looks = listener.only_looks().map(|every| {
                        format!(
                            "work is looked for every {every:?}: a pooler in front of the database lets no notification through"
                        )
                    });
                    self.health.set_reservation(Reservation::Doorbell, only_looks);
                    if !listener.offers() {
                        self.health.met(Condition::Doorbell);
                    }
                    self.state = State::Hearing(listener);
                    return Wake::Sweep;
                }
                Err(error) => error,
            },
            State::Hearing(listener) => match listener.wake().await {
                Ok(wake) => {
                    self.pause = FIRST_PAUSE;
                    // the time to look says nothing of a broker that may still refuse what is to be followed
                    if !listener.offers() || matches!(wake, Wake::LookForWork | Wake::Offered(_)) {
                        self.health.met(Condition::Doorbell);
                    }
                    return wake;
                }
                Err(error) => error,
            },
        };
        tracing::warn!(error = %lost, pause = ?self.pause, "the doorbell is not heard, trying again");
        self.health.unmet(Condition::Doorbell, "not heard; the log says why");
        self.state = State::Trying(listen(self.doorbell.clone(), self.pause));
        self.pause = (self.pause * 2).min(self.longest_pause);
        Wake::Sweep
    }
}

fn listen(doorbell: Arc<dyn Doorbell>, pause: Duration) -> Trying {
    Box::pin(async move {
        // drawn, so that not every worker comes at once when a server is back
        tokio::time::sleep(stagger(pause)).await;
        doorbell.listen().await
    })
}
