//! Stopping in two steps: first let everything finish, then end it.

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How urgently the service is asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not at all.
    #[default]
    Run,
    /// Take nothing new, finish what runs.
    Drain,
    /// End what runs.
    Cancel,
}

/// Asks a service to stop. A stage is never taken back.
#[derive(Clone, Debug)]
pub struct StopHandle(watch::Sender<Stage>);

impl StopHandle {
    /// Take nothing new, finish what runs.
    pub fn drain(&self) {
        self.raise(Stage::Drain);
    }

    /// End what runs, too.
    pub fn cancel(&self) {
        self.raise(Stage::Cancel);
    }

    fn raise(&self, stage: Stage) {
        self.0.send_if_modified(|current| {
            let higher = stage > *current;
            *current = stage.max(*current);
            higher
        });
    }
}

/// Hears when to stop.
#[derive(Clone, Debug)]
pub struct StopSignal {
    stage: watch::Receiver<Stage>,
    // keeps the channel open, so that waiting for a change never ends by itself
    _handle: StopHandle,
}

impl StopSignal {
    /// A signal that only its handle raises.
    #[must_use]
    pub fn manual() -> (StopHandle, Self) {
        let (sender, stage) = watch::channel(Stage::default());
        let handle = StopHandle(sender);
        (handle.clone(), Self { stage, _handle: handle })
    }

    /// A signal that SIGTERM, SIGINT and SIGHUP raise: the first to draining, the next to cancelling. The last is what those hear
    /// whose terminal is closed.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> anyhow::Result<Self> {
        // nohup(1) wants the service to outlive its terminal
        let outlives_terminal = is_ignored(SignalKind::hangup());
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let (handle, stop) = Self::manual();
        tokio::spawn(async move {
            let mut received = 0;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hang_up.recv() => {
                        if outlives_terminal {
                            continue;
                        }
                    }
                }
                received += 1;
                if received == 1 {
                    tracing::info!("stopping: what runs may finish; a second signal ends it");
                    handle.drain();
                } else {
                    tracing::info!("stopping now: what runs is cancelled");
                    handle.cancel();
                }
            }
        });
        Ok(stop)
    }

    /// The current stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until the stage is at least this one.
    pub async fn reached(&mut self, stage: Stage) {
        // the sender lives as long as this signal does
        let _ = self.stage.wait_for(|current| *current >= stage).await;
    }
}

/// Whether whoever started this process told it to ignore a signal (`SigIgn` in `proc_pid_status(5)`).
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal.as_raw_value() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_only_rise() {
        let (handle, mut stop) = StopSignal::manual();
        assert_eq!(stop.stage(), Stage::Run);
        handle.cancel();
        handle.drain();
        stop.reached(Stage::Drain).await;
        assert_eq!(stop.stage(), Stage::Cancel);
    }
}
