//! The store in PostgreSQL: what a fleet shares.
//!
//! Every operation is one statement, hence one round trip and one transaction. What an agent does is a function of schema
//! `attune_agent` (`migrations/postgres/0002_agent_functions.sql`), so that its role needs no right on any table
//! ([`ROLES`]); what only the API does is a statement here. JSON is kept as `jsonb`, which knows no U+0000: [`json`] escapes it.

mod connect;
mod executions;
mod json;
mod leases;
mod logs;
mod migrate;
mod packs;
mod rows;
mod workers;

use std::time::Duration;

use sqlx::{
    Connection, PgPool, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::Query,
};
use tokio::time::Instant;

use super::{Client, Result, StoreError};

/// SQL that makes the two roles `attune_api` and `attune_agent`; a superuser runs it once.
pub const ROLES: &str = include_str!("postgres/roles.sql");

/// Longest wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Unused for longer than this, a connection is tried before it is used: the server may have restarted.
const TRUSTED_IDLE: Duration = Duration::from_secs(30);

/// Longest wait for an answer about leases, a fraction of a lease: a network that has gone silent must look like one that is cut.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for an answer that carries much, such as archives and logs.
const LONG_PATIENCE: Duration = Duration::from_mins(1);

/// A store in a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Connects to the database of a URL (`postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=ca.pem`,
    /// keys as in <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>), and migrates its tables
    /// if they are older than this program and the user may.
    ///
    /// # Errors
    /// When the URL is wrong, the server cannot be reached or refuses, or its tables are newer than this program.
    pub async fn open(url: &str, client: &Client) -> Result<Self> {
        let options = connect::options(url, client)?;
        let mut connection = connect::connect(&options).await?;
        migrate::migrate(&mut connection, &connect::name(&options)).await?;
        // it has done what it was for, whether the goodbye arrives or not
        let _ = connection.close().await;
        let pool = PgPoolOptions::new()
            // the doorbell listens on one
            .max_connections(client.max_connections.saturating_sub(1).max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// How to connect, for the doorbell.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    /// Sends a notification to whoever listens on a channel.
    pub(crate) async fn notify(&self, channel: &str, payload: &str) -> Result<()> {
        let query = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(payload);
        self.fetch(PATIENCE, query).await?;
        Ok(())
    }

    /// Runs one statement. When no answer comes in time, its connection is given up.
    async fn fetch(&self, patience: Duration, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>> {
        let deadline = Instant::now() + patience;
        let mut connection = self.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => StoreError::NoConnection(ACQUIRE_TIMEOUT),
            error => error.into(),
        })?;
        if let Ok(rows) = tokio::time::timeout_at(deadline, query.fetch_all(&mut *connection)).await {
            return Ok(rows?);
        }
        connection.close_on_drop();
        Err(StoreError::Unanswered(patience))
    }

    async fn fetch_optional(
        &self,
        patience: Duration,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Option<PgRow>> {
        Ok(self.fetch(patience, query).await?.into_iter().next())
    }

    async fn fetch_one(&self, patience: Duration, query: Query<'_, Postgres, PgArguments>) -> Result<PgRow> {
        self.fetch_optional(patience, query).await?.ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }
}
