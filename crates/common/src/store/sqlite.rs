//! The store in one SQLite file: what a single machine uses.
//!
//! One connection writes, because SQLite has one writer at a time anyway and a queue in front of it is faster and fairer
//! than its own waiting; several read. Write-ahead logging lets them go on meanwhile (<https://sqlite.org/wal.html>).
//! Other processes may use the same file: then SQLite's busy timeout does the waiting.

mod executions;
mod leases;
mod logs;
mod packs;
mod rows;
mod workers;

use std::{
    os::unix::fs::OpenOptionsExt,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Result, StoreError};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections that read.
const READERS: u32 = 4;

/// Now, by SQLite's clock, in milliseconds since 1970.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}
pub(crate) use now;

/// A store in an SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteStore {
    /// Opens the file of a URL (`sqlite:///path/to/file`), creates it if needed (mode 0600), and migrates its tables.
    ///
    /// # Errors
    /// When the URL names no file, the file cannot be opened or is no database, or its tables are newer than this program.
    pub async fn open(url: &str) -> Result<Self> {
        let options =
            SqliteConnectOptions::from_str(url).map_err(|error| StoreError::Url(error.to_string()))?;
        let file = options.get_filename().to_owned();
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(StoreError::Url(
                "a database in memory cannot be shared; sqlite:///path/to/file is expected".to_owned(),
            ));
        }
        create_private(&file).map_err(|error| open_error(&file, error.to_string()))?;
        let options = options
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // every commit reaches the disk: an outcome that was reported survives a power cut
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .optimize_on_close(true, None);
        let writer = connect(&options).await.map_err(|error| open_error(&file, reason(error)))?;
        let store = Self {
            reader: SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options),
            writer,
        };
        store.migrate(&file).await?;
        Ok(store)
    }

    async fn migrate(&self, file: &Path) -> Result<()> {
        // one transaction around all of them: processes that start together migrate one after the other
        let mut transaction = self.begin().await.map_err(|error| match error {
            StoreError::Database(error) => open_error(file, reason(error)),
            other => other,
        })?;
        let migrated = MIGRATIONS.run_direct(None, &mut *transaction, false).await;
        migrated.map_err(|error| StoreError::migrate(&file.display().to_string(), &error))?;
        Ok(transaction.commit().await?)
    }

    /// A transaction that holds the write lock from its start, so that it never has to give up half way.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Connects the one that writes.
///
/// Whoever opens a new file first switches it to write-ahead logging, for which the file is locked as a whole; SQLite tells those who
/// come in that moment that it is busy, and does not wait (<https://sqlite.org/c3ref/busy_handler.html>: a deadlock might be near).
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    let started = Instant::now();
    loop {
        match SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(5..25))).await;
            }
            connected => return connected,
        }
    }
}

/// `SQLITE_BUSY`, whose extended codes have it in their last byte (<https://sqlite.org/rescode.html>).
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

fn create_private(file: &Path) -> std::io::Result<()> {
    std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file).map(drop)
}

fn open_error(file: &Path, reason: String) -> StoreError {
    StoreError::Open { database: file.display().to_string(), reason }
}

fn reason(error: sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}
