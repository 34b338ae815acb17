//! The doorbell of PostgreSQL: `NOTIFY` and `LISTEN` (<https://www.postgresql.org/docs/current/sql-notify.html>).
//!
//! Rings are statements of their own, after the commit of what they tell: a notification within a transaction would make all
//! commits wait for each other. A ring that is lost in between is found by the sweep. A listener has a connection of its own,
//! which a pooler must not share between clients (`LISTEN` belongs to a session). It ends when the connection is lost: whoever
//! listens knows then that it does not hear, listens again, and looks at everything.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{Doorbell, DoorbellError, Listener, Ring, Wake};
use crate::store::PostgresStore;

/// The channel.
const CHANNEL: &str = "attune";

/// PostgreSQL refuses payloads of 8000 bytes and more.
const MAX_PAYLOAD_BYTES: usize = 7999;

/// How often a silent connection is tried: one that is cut without a word looks just like it.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Longest wait for a connection, and for the answer to a probe.
const PATIENCE: Duration = Duration::from_secs(10);

/// Notification through the database.
#[derive(Debug)]
pub struct PostgresDoorbell {
    store: PostgresStore,
    sweep_interval: Duration,
}

impl PostgresDoorbell {
    /// A doorbell whose listeners look by themselves every `sweep_interval`.
    #[must_use]
    pub fn new(store: PostgresStore, sweep_interval: Duration) -> Self {
        Self { store, sweep_interval }
    }
}

#[async_trait]
impl Doorbell for PostgresDoorbell {
    async fn ring(&self, ring: &Ring) -> Result<(), DoorbellError> {
        let payload = serde_json::to_string(ring).map_err(|error| DoorbellError(error.to_string()))?;
        // what does not fit is not told: an empty ring makes listeners look at everything
        let payload = if payload.len() > MAX_PAYLOAD_BYTES { "" } else { &payload };
        self.store.notify(CHANNEL, payload).await.map_err(|error| DoorbellError(error.to_string()))
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, DoorbellError> {
        let options = self.store.connect_options();
        let mut listener = connect(&options).await?;
        let heard = Arc::new(Heard::default());
        let mut task = JoinSet::new();
        let told = heard.clone();
        task.spawn(async move {
            let reason = hear(&mut listener, &told).await;
            told.end(DoorbellError(format!("lost the connection that listens: {reason}")));
        });
        // agents that were started together must not look together for ever
        let first = Instant::now() + self.sweep_interval.mul_f64(0.5 + fastrand::f64() / 2.0);
        let mut sweep = tokio::time::interval_at(first, self.sweep_interval);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Box::new(PostgresListener { heard, sweep, _task: task }))
    }
}

/// What was heard and not yet told: any number of rings is one reason to look. The end is told last, and once.
#[derive(Debug, Default)]
struct Heard {
    wake: Mutex<Option<Wake>>,
    end: Mutex<Option<DoorbellError>>,
    changed: Notify,
}

impl Heard {
    fn add(&self, new: Wake) {
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        *wake = Some(match wake.take() {
            Some(before) if before != new => Wake::Sweep,
            _ => new,
        });
        self.changed.notify_one();
    }

    fn end(&self, reason: DoorbellError) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Result<Wake, DoorbellError>> {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).take();
        wake.map(Ok).or_else(|| self.end.lock().unwrap_or_else(PoisonError::into_inner).take().map(Err))
    }
}

struct PostgresListener {
    heard: Arc<Heard>,
    sweep: Interval,
    /// Ends with the listener.
    _task: JoinSet<()>,
}

#[async_trait]
impl Listener for PostgresListener {
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

/// Hears until the connection is lost, and returns why it is.
async fn hear(listener: &mut PgListener, heard: &Heard) -> String {
    loop {
        match tokio::time::timeout(PROBE_INTERVAL, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => heard.add(wake_of(notification.payload())),
            Ok(Ok(None)) => return "the server closed it".to_owned(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => {
                if let Err(reason) = probe(listener).await {
                    return reason;
                }
            }
        }
    }
}

/// Asks the server, over the connection that listens, whether it does.
async fn probe(listener: &mut PgListener) -> Result<(), String> {
    let query = sqlx::query_scalar("SELECT $1 IN (SELECT pg_listening_channels())").bind(CHANNEL);
    match tokio::time::timeout(PATIENCE, query.fetch_one(listener)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("the session changed: a pooler must not share this connection".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// What a payload asks for. One that cannot be read comes from another version, or did not fit.
fn wake_of(payload: &str) -> Wake {
    match serde_json::from_str(payload) {
        Ok(Ring::Queued { .. }) => Wake::LookForWork,
        Ok(Ring::CancelRequested { .. }) => Wake::LookForCancellations,
        Err(_) => Wake::Sweep,
    }
}

/// Connects and listens. The pool is only what `PgListener` asks for: every connection has a new one, so that a connection
/// that hangs keeps nothing from the next.
async fn connect(options: &PgConnectOptions) -> Result<PgListener, DoorbellError> {
    let told = |error: sqlx::Error| DoorbellError(format!("cannot listen: {error}"));
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await.map_err(told)?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await.map_err(told)?;
    Ok(listener)
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
        assert_eq!(wake_of(&queued), Wake::LookForWork);
        assert_eq!(wake_of(&payload(Ring::CancelRequested { execution })), Wake::LookForCancellations);
        for unreadable in ["", "{}", r#"{"later":{}}"#] {
            assert_eq!(wake_of(unreadable), Wake::Sweep, "{unreadable:?}");
        }
    }

    #[test]
    fn rings_that_wait_become_one_and_the_end_comes_last() {
        let heard = Heard::default();
        assert!(heard.take().is_none());
        heard.add(Wake::LookForWork);
        heard.add(Wake::LookForWork);
        assert_eq!(heard.take().unwrap().unwrap(), Wake::LookForWork);
        heard.add(Wake::LookForWork);
        heard.end(DoorbellError("gone".to_owned()));
        heard.add(Wake::LookForCancellations);
        assert_eq!(heard.take().unwrap().unwrap(), Wake::Sweep);
        assert_eq!(heard.take().unwrap().unwrap_err().to_string(), "doorbell: gone");
    }
}
