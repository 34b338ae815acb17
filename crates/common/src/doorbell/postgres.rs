//! The doorbell of PostgreSQL: `NOTIFY` and `LISTEN` (<https://www.postgresql.org/docs/current/sql-notify.html>).
//!
//! Rings are statements of their own, after the commit of what they tell: a notification within a transaction would make all
//! commits wait for each other. A ring that is lost in between is found by the sweep. A listener has a connection of its own,
//! because `LISTEN` belongs to a session. It ends when the connection is lost: whoever listens knows then that it does not hear,
//! listens again, and looks at everything.
//!
//! A pooler that shares sessions among clients lets no notification through, and `LISTEN` would make others get them between
//! their own answers. Such a pooler drops what a client sets for its session (`PgBouncer`: `ignore_startup_parameters`); that tells,
//! and then nothing is listened to: work is found by looking.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use uuid::Uuid;

use super::{
    Doorbell, DoorbellError, Listener, Ring,
    heard::{self, Heard},
};
use crate::store::PostgresStore;

/// The channel.
const CHANNEL: &str = "attune";

/// PostgreSQL refuses payloads of 8000 bytes and more.
const MAX_PAYLOAD_BYTES: usize = 7999;

/// A setting of the session by which it is recognised; names with a dot are free for such uses
/// (<https://www.postgresql.org/docs/current/runtime-config-custom.html>).
const MARK: &str = "attune.listener";

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
        let Some(mut listener) = connect(&self.store.connect_options()).await? else {
            let (every, hint) = (self.sweep_interval, "set database.sweep_interval, or message_queue.url");
            tracing::warn!(
                ?every,
                hint,
                "a pooler in front of the database lets no notification through: looking for work instead"
            );
            return Ok(heard::deaf(self.sweep_interval));
        };
        Ok(heard::listener(
            self.sweep_interval,
            move |heard| async move { hear(&mut listener, &heard).await },
        ))
    }
}

/// Hears until the connection is lost, and returns why it is.
async fn hear(listener: &mut PgListener, heard: &Heard) -> String {
    loop {
        match tokio::time::timeout(PROBE_INTERVAL, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => heard.add(notification.payload().as_bytes()),
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

/// Connects and listens; `None` when the session is not this client's own. The pool is only what `PgListener` asks for: every
/// connection has a new one, so that a connection that hangs keeps nothing from the next.
async fn connect(options: &PgConnectOptions) -> Result<Option<PgListener>, DoorbellError> {
    let told = |error: sqlx::Error| DoorbellError(format!("cannot listen: {error}"));
    let mark = Uuid::new_v4().to_string();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone().options([(MARK, &mark)]));
    let mut listener = PgListener::connect_with(&pool).await.map_err(told)?;
    listener.eager_reconnect(false);
    let marked: Option<String> = sqlx::query_scalar("SELECT current_setting($1, true)")
        .bind(MARK)
        .fetch_one(&mut listener)
        .await
        .map_err(told)?;
    if marked.as_ref() != Some(&mark) {
        return Ok(None);
    }
    listener.listen(CHANNEL).await.map_err(told)?;
    Ok(Some(listener))
}
