//! What can go wrong with the store.

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
        reason: sqlx::migrate::MigrateError,
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
    /// A stored value cannot be read.
    #[error("stored {what} cannot be read: {reason}")]
    Corrupt {
        /// The column.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}
