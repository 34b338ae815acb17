//! Rows of the database as values, and values as columns.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};

use crate::{
    model::{EarlierAttempt, Execution, ExecutionStatus},
    store::{Result, StoreError},
};

/// Every column of an execution that [`execution`] reads.
macro_rules! execution_columns {
    () => {
        concat!(
            "id, action, pack_version, pack_digest, parameters, requirement, status, attempt, attempts_left, cancel_requested,
             worker, worker_name, lease_expires_at, idempotency_key, created_at, started_at, finished_at, outcome, ",
            now!(),
            " AS read_at"
        )
    };
}
pub(super) use execution_columns;

/// Reads an execution from a row of [`execution_columns`].
pub(super) fn execution(row: &SqliteRow) -> Result<Execution> {
    Ok(Execution {
        id: text(row, "id")?,
        action: json(row, "action")?,
        pack_version: row.try_get("pack_version")?,
        pack_digest: row.try_get("pack_digest")?,
        parameters: json(row, "parameters")?,
        requirement: text(row, "requirement")?,
        status: status(row)?,
        attempt: row.try_get("attempt")?,
        attempts_left: row.try_get("attempts_left")?,
        cancel_requested: row.try_get("cancel_requested")?,
        worker: optional(row, "worker", |text: String| parse("worker", &text))?,
        worker_name: row.try_get("worker_name")?,
        lease_expires_at: optional(row, "lease_expires_at", |millis| timestamp("lease_expires_at", millis))?,
        idempotency_key: row.try_get("idempotency_key")?,
        created_at: time(row, "created_at")?,
        started_at: optional(row, "started_at", |millis| timestamp("started_at", millis))?,
        finished_at: optional(row, "finished_at", |millis| timestamp("finished_at", millis))?,
        outcome: optional(row, "outcome", |text: String| from_json("outcome", &text))?,
        read_at: time(row, "read_at")?,
    })
}

/// Reads an attempt from its row.
pub(super) fn earlier_attempt(row: &SqliteRow) -> Result<EarlierAttempt> {
    Ok(EarlierAttempt {
        attempt: row.try_get("attempt")?,
        worker_name: row.try_get("worker_name")?,
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
        outcome: json(row, "outcome")?,
    })
}

pub(super) fn status(row: &SqliteRow) -> Result<ExecutionStatus> {
    let name: String = row.try_get("status")?;
    ExecutionStatus::from_name(&name).ok_or_else(|| corrupt("status", name))
}

pub(super) fn text<T: FromStr<Err: std::fmt::Display>>(row: &SqliteRow, column: &'static str) -> Result<T> {
    parse(column, &row.try_get::<String, _>(column)?)
}

pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T> {
    from_json(column, &row.try_get::<String, _>(column)?)
}

pub(super) fn time(row: &SqliteRow, column: &'static str) -> Result<Timestamp> {
    timestamp(column, row.try_get(column)?)
}

pub(super) fn optional<'r, C, T>(
    row: &'r SqliteRow,
    column: &'static str,
    read: impl FnOnce(C) -> Result<T>,
) -> Result<Option<T>>
where
    Option<C>: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get::<Option<C>, _>(column)?.map(read).transpose()
}

pub(super) fn timestamp(column: &'static str, millis: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(millis).map_err(|error| corrupt(column, error))
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| corrupt("value to be stored", error))
}

fn parse<T: FromStr<Err: std::fmt::Display>>(column: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| corrupt(column, error))
}

fn from_json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| corrupt(column, error))
}

fn corrupt(what: &'static str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what, reason: reason.to_string() }
}
