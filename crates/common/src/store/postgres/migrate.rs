//! Brings the tables to what this program expects. Migrations go forward only.

use std::{borrow::Cow, sync::LazyLock};

use sqlx::{Connection, PgConnection, Row, migrate::Migrator};

use super::PATIENCE;
use crate::store::{Result, StoreError};

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.dangerous_set_table_name("attune.migrations");
    // the transaction below holds a lock already
    migrator.set_locking(false);
    migrator
});

/// Whom everybody who migrates waits for: a number drawn at random, once
/// (<https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>).
const LOCK: i64 = 0x6174_7475_6e65_0001;

/// Migrates, unless there is nothing to do. Many may do it at once.
pub(super) async fn migrate(connection: &mut PgConnection, database: &str) -> Result<()> {
    let failed = |reason: String| StoreError::Migrate { database: database.to_owned(), reason };
    if is_current(connection, database).await? {
        return Ok(());
    }
    // one transaction around all of them: whole or not at all; the lock goes with it, also through a pooler
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql("SET LOCAL lock_timeout = '5min'; SET LOCAL statement_timeout = '30min'")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    // not CREATE SCHEMA IF NOT EXISTS: that needs the right to create one even if there is one
    let made = sqlx::raw_sql(
        "DO $$ BEGIN
             IF to_regnamespace('attune') IS NULL THEN CREATE SCHEMA attune; END IF;
             IF to_regnamespace('attune_agent') IS NULL THEN CREATE SCHEMA attune_agent; END IF;
         END $$",
    )
    .execute(&mut *transaction)
    .await;
    made.map_err(|error| failed(not_migrated(&error)))?;
    let migrated = MIGRATIONS.run_direct(None, &mut *transaction, false).await;
    migrated.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => failed(not_migrated(&error)),
        other => StoreError::migrate(database, &other),
    })?;
    Ok(transaction.commit().await?)
}

/// Whether every migration has been applied, asked in a way that agents may ask.
async fn is_current(connection: &mut PgConnection, database: &str) -> Result<bool> {
    let failed = |reason: String| StoreError::Migrate { database: database.to_owned(), reason };
    let asked = sqlx::query("SELECT version, checksum FROM attune_agent.migrations()").fetch_all(connection);
    let asked = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| StoreError::Unanswered(PATIENCE))?;
    let applied = match asked {
        Ok(rows) => rows,
        // neither schema nor function: nothing was migrated
        Err(error) if matches!(code(&error).as_deref(), Some("3F000" | "42883")) => return Ok(false),
        Err(error) => {
            return Err(failed(match denied(&error) {
                Some(message) => format!(
                    "this user may not use it ({message}); 'attune-api database-roles' prints the SQL that makes users who may"
                ),
                None => error.to_string(),
            }));
        }
    };
    let mut current = 0;
    for row in applied {
        let (version, checksum): (i64, Vec<u8>) = (row.try_get("version")?, row.try_get("checksum")?);
        let Some(known) = MIGRATIONS.iter().find(|known| known.version == version) else {
            return Err(failed(StoreError::newer(version)));
        };
        if *known.checksum != *checksum {
            return Err(failed(format!("its migration {version} is not the one of this program")));
        }
        current += 1;
    }
    Ok(current == MIGRATIONS.iter().count())
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Cow::into_owned)
}

/// Why the tables could not be made or changed.
fn not_migrated(error: &sqlx::Error) -> String {
    match denied(error) {
        Some(message) => format!(
            "its tables are missing or older than this program, and this user may not change that ({message}); start attune-api \
             of this version first"
        ),
        None => error.to_string(),
    }
}

/// What the server says when the user lacks a right.
fn denied(error: &sqlx::Error) -> Option<String> {
    (code(error)? == "42501").then(|| error.as_database_error().map(|error| error.message().to_owned()))?
}
