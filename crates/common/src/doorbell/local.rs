//! The doorbell of one machine: at once within a process, by a slow look between processes on the same database file.

use std::time::Duration;

use async_trait::async_trait;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{Doorbell, DoorbellError, Listener, Ring, Wake};

/// Rings that a slow listener may have pending before it is told to look at everything.
const BACKLOG: usize = 256;

/// In-process notification plus polling.
#[derive(Debug)]
pub struct LocalDoorbell {
    rings: broadcast::Sender<Ring>,
    poll_interval: Duration,
}

impl LocalDoorbell {
    /// A doorbell whose listeners look by themselves every `poll_interval`.
    #[must_use]
    pub fn new(poll_interval: Duration) -> Self {
        Self { rings: broadcast::Sender::new(BACKLOG), poll_interval }
    }
}

#[async_trait]
impl Doorbell for LocalDoorbell {
    async fn ring(&self, ring: &Ring) -> Result<(), DoorbellError> {
        // an error means that nobody listens, which is nobody's fault
        let _ = self.rings.send(ring.clone());
        Ok(())
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, DoorbellError> {
        let start = Instant::now() + self.poll_interval;
        let mut sweep = tokio::time::interval_at(start, self.poll_interval);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Box::new(LocalListener { rings: self.rings.subscribe(), sweep }))
    }
}

struct LocalListener {
    rings: broadcast::Receiver<Ring>,
    sweep: Interval,
}

#[async_trait]
impl Listener for LocalListener {
    async fn wake(&mut self) -> Result<Wake, DoorbellError> {
        tokio::select! {
            ring = self.rings.recv() => match ring {
                Ok(ring) => Ok(ring.wake()),
                Err(RecvError::Lagged(_)) => Ok(Wake::Sweep),
                // the bell itself is gone: what is left is the slow look
                Err(RecvError::Closed) => {
                    self.sweep.tick().await;
                    Ok(Wake::Sweep)
                }
            },
            _ = self.sweep.tick() => Ok(Wake::Sweep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExecutionId;

    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn a_ring_reaches_every_listener_at_once() {
        let bell = LocalDoorbell::new(LONG);
        let (mut first, mut second) = (bell.listen().await.unwrap(), bell.listen().await.unwrap());
        let ring = Ring::CancelRequested { execution: ExecutionId::new() };
        bell.ring(&ring).await.unwrap();
        assert_eq!(first.wake().await.unwrap(), Wake::LookForCancellations);
        assert_eq!(second.wake().await.unwrap(), Wake::LookForCancellations);
    }

    #[tokio::test]
    async fn a_silent_bell_still_lets_listeners_look() {
        let bell = LocalDoorbell::new(Duration::from_millis(1));
        assert_eq!(bell.listen().await.unwrap().wake().await.unwrap(), Wake::Sweep);
    }

    #[tokio::test]
    async fn a_listener_that_missed_rings_looks_at_everything() {
        let bell = LocalDoorbell::new(LONG);
        let mut listener = bell.listen().await.unwrap();
        for _ in 0..=2 * BACKLOG {
            bell.ring(&Ring::CancelRequested { execution: ExecutionId::new() }).await.unwrap();
        }
        assert_eq!(listener.wake().await.unwrap(), Wake::Sweep);
    }
}
