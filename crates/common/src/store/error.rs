//! What can go wrong with the store.

use std::time::Duration;

use sqlx::migrate::MigrateError;

/// What can go wrong with the store. The text holds the cause, so that a chain of errors says it once.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store.
    #[error("database url: {0}")]
    Url(String),
    /// The database cannot be opened.
    #[error("cannot open database {database}: {reason}")]
    Open {
        /// The database, without credentials.
        database: String,
        /// Why, in words.
        reason: String,
    },
    /// The database's tables are not what this program expects.
    #[error("cannot migrate database {database}: {reason}")]
    Migrate {
        /// The database, without credentials.
        database: String,
        /// Why.
        reason: String,
    },
    /// What was named does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The attempt is no longer current; nothing was written.
    #[error("the lease of this attempt is gone: another worker or the reaper has taken the execution")]
    Fenced,
    /// The database refused or failed.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The database took too long; whether it did what it was asked for is not known.
    #[error("database: no answer within {0:?}; is the network between in order?")]
    Unanswered(Duration),
    /// Every connection was in use, or none could be made.
    #[error(
        "database: no connection within {0:?}; it cannot be reached, or database.max_connections is too small"
    )]
    NoConnection(Duration),
    /// A stored value cannot be read.
    #[error("stored {what} cannot be read: {reason}")]
    Corrupt {
        /// The column.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl StoreError {
    /// Why migrating failed, in words.
    pub(super) fn migrate(database: &str, error: &MigrateError) -> Self {
        let reason = match error {
            MigrateError::VersionMissing(version) => Self::newer(*version),
            other => other.to_string(),
        };
        Self::Migrate { database: database.to_owned(), reason }
    }

    /// What is said about a database that has a migration that this program does not know.
    pub(super) fn newer(version: i64) -> String {
        format!(
            "it is newer than this program, which does not know its migration {version}; use the release that made it, or a later one"
        )
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}
