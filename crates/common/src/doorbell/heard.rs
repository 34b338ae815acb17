//! What a task hears for a listener: the half that the doorbells of the network have in common.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{DoorbellError, Listener, Offer, Ring, Wake};
use crate::stagger::stagger;

/// A listener that hears nothing, and looks every `sweep_interval`.
pub(super) fn deaf(sweep_interval: Duration) -> Box<dyn Listener> {
    Box::new(DeafListener { sweep: sweep(sweep_interval) })
}

/// A listener that looks by itself every `sweep_interval`. Its task is what `hear` makes: it hears until the connection is
/// lost, and returns why it is.
pub(super) fn listener<Hearing>(
    sweep_interval: Duration,
    hear: impl FnOnce(Arc<Heard>) -> Hearing,
) -> Box<dyn Listener>
where
    Hearing: Future<Output = String> + Send + 'static,
{
    let heard = Arc::new(Heard::default());
    let mut task = JoinSet::new();
    let (told, hearing) = (heard.clone(), hear(heard.clone()));
    task.spawn(async move {
        let reason = hearing.await;
        told.end(DoorbellError(format!("lost the connection that listens: {reason}")));
    });
    Box::new(TaskListener { heard, sweep: sweep(sweep_interval), _task: task })
}

fn sweep(interval: Duration) -> Interval {
    // agents that were started together must not look together for ever
    let first = Instant::now() + stagger(interval);
    let mut sweep = tokio::time::interval_at(first, interval);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep
}

struct DeafListener {
    sweep: Interval,
}

#[async_trait]
impl Listener for DeafListener {
    async fn wake(&mut self) -> Result<Wake, DoorbellError> {
        self.sweep.tick().await;
        Ok(Wake::Sweep)
    }

    fn only_looks(&self) -> Option<Duration> {
        Some(self.sweep.period())
    }
}

/// What was heard and not yet told: any number of rings is one reason to look. The end is told last, and once.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    wake: Option<Wake>,
    offers: VecDeque<Offer>,
    end: Option<DoorbellError>,
}

impl Heard {
    /// Takes down what a payload asks for.
    pub(super) fn add(&self, payload: &[u8]) {
        self.add_wake(wake_of(payload));
    }

    pub(super) fn add_wake(&self, new: Wake) {
        let mut pending = self.pending();
        pending.wake = Some(match pending.wake.take() {
            Some(before) if before != new => Wake::Sweep,
            _ => new,
        });
        self.changed.notify_one();
    }

    /// Takes down an offer.
    pub(super) fn offer(&self, offer: Offer) {
        self.pending().offers.push_back(offer);
        self.changed.notify_one();
    }

    fn end(&self, reason: DoorbellError) {
        let mut pending = self.pending();
        // nobody could be told the answers any more
        pending.offers.clear();
        pending.end = Some(reason);
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Result<Wake, DoorbellError>> {
        let mut pending = self.pending();
        if let Some(wake) = pending.wake.take() {
            return Some(Ok(wake));
        }
        if let Some(offer) = pending.offers.pop_front() {
            return Some(Ok(Wake::Offered(offer)));
        }
        pending.end.take().map(Err)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // nothing panics while it is held
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a payload asks for. One that cannot be read comes from another version, or did not fit.
fn wake_of(payload: &[u8]) -> Wake {
    serde_json::from_slice(payload).map_or(Wake::Sweep, |ring: Ring| ring.wake())
}

struct TaskListener {
    heard: Arc<Heard>,
    sweep: Interval,
    /// Ends with the listener.
    _task: JoinSet<()>,
}

#[async_trait]
impl Listener for TaskListener {
    async fn wake(&mut self) -> Result<Wake, DoorbellError> {
        loop {
            if let Some(wake) = self.heard.take() {
                return wake;
            }
            tokio::select! {
                () = self.heard.changed.notified() => {}
                _ = self.sweep.tick() => return Ok(Wake::Sweep),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExecutionId;

    #[test]
    fn a_payload_says_what_to_look_for() {
        let execution = ExecutionId::new();
        let payload = |ring| serde_json::to_string(&ring).unwrap();
        let queued = payload(Ring::Queued { execution, requirement: "python >=3.11".parse().unwrap() });
        assert_eq!(
            queued,
            format!(r#"{{"queued":{{"execution":"{execution}","requirement":"python >=3.11"}}}}"#)
        );
        assert_eq!(wake_of(queued.as_bytes()), Wake::LookForWork);
        let cancel = payload(Ring::CancelRequested { execution });
        assert_eq!(wake_of(cancel.as_bytes()), Wake::LookForCancellations);
        for unreadable in ["", "{}", r#"{"later":{}}"#] {
            assert_eq!(wake_of(unreadable.as_bytes()), Wake::Sweep, "{unreadable:?}");
        }
    }

    #[test]
    fn rings_that_wait_become_one_and_the_end_comes_last() {
        let heard = Heard::default();
        assert!(heard.take().is_none());
        heard.add_wake(Wake::LookForWork);
        heard.add_wake(Wake::LookForWork);
        assert_eq!(heard.take().unwrap().unwrap(), Wake::LookForWork);
        heard.add_wake(Wake::LookForWork);
        heard.end(DoorbellError("gone".to_owned()));
        heard.add_wake(Wake::LookForCancellations);
        assert_eq!(heard.take().unwrap().unwrap(), Wake::Sweep);
        assert_eq!(heard.take().unwrap().unwrap_err().to_string(), "doorbell: gone");
    }
}
