//! Rows of the database as values.

use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::json;
use crate::{
    model::{EarlierAttempt, Execution, ExecutionStatus},
    store::{Result, StoreError},
};

/// Every column of an execution that [`execution`] reads.
macro_rules! execution_columns {
    () => {
        "id, action, pack_version, pack_digest, parameters, requirement, status, attempt, attempts_left, cancel_requested, \
         worker, worker_name, lease_expires_at, idempotency_key, created_at, started_at, finished_at, outcome, \
         statement_timestamp() AS read_at"
    };
}
pub(super) use execution_columns;

/// Reads an execution from a row of [`execution_columns`].
pub(super) fn execution(row: &PgRow) -> Result<Execution> {
    Ok(Execution {
        id: id(row, "id")?,
        action: json(row, "action")?,
        pack_version: row.try_get("pack_version")?,
        pack_digest: row.try_get("pack_digest")?,
        parameters: json(row, "parameters")?,
        requirement: text(row, "requirement")?,
        status: status(row)?,
        attempt: number(row, "attempt")?,
        attempts_left: number(row, "attempts_left")?,
        cancel_requested: row.try_get("cancel_requested")?,
        worker: row.try_get::<Option<Uuid>, _>("worker")?.map(Into::into),
        worker_name: row.try_get("worker_name")?,
        lease_expires_at: optional_time(row, "lease_expires_at")?,
        idempotency_key: row.try_get("idempotency_key")?,
        created_at: time(row, "created_at")?,
        started_at: optional_time(row, "started_at")?,
        finished_at: optional_time(row, "finished_at")?,
        outcome: row
            .try_get::<Option<Value>, _>("outcome")?
            .map(|stored| json::from_stored("outcome", stored))
            .transpose()?,
        read_at: time(row, "read_at")?,
    })
}

/// Reads an attempt from its row.
pub(super) fn earlier_attempt(row: &PgRow) -> Result<EarlierAttempt> {
    Ok(EarlierAttempt {
        attempt: number(row, "attempt")?,
        worker_name: row.try_get("worker_name")?,
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
        outcome: json(row, "outcome")?,
    })
}

pub(super) fn status(row: &PgRow) -> Result<ExecutionStatus> {
    let name: String = row.try_get("status")?;
    ExecutionStatus::from_name(&name).ok_or_else(|| corrupt("status", name))
}

pub(super) fn id<T: From<Uuid>>(row: &PgRow, column: &'static str) -> Result<T> {
    Ok(row.try_get::<Uuid, _>(column)?.into())
}

pub(super) fn text<T: FromStr<Err: std::fmt::Display>>(row: &PgRow, column: &'static str) -> Result<T> {
    row.try_get::<&str, _>(column)?.parse().map_err(|error: T::Err| corrupt(column, error))
}

pub(super) fn json<T: DeserializeOwned>(row: &PgRow, column: &'static str) -> Result<T> {
    json::from_stored(column, row.try_get(column)?)
}

/// PostgreSQL has no unsigned numbers: counts are kept as the next larger signed ones.
pub(super) fn number<T: TryFrom<i64, Error: std::fmt::Display>>(
    row: &PgRow,
    column: &'static str,
) -> Result<T> {
    row.try_get::<i64, _>(column)?.try_into().map_err(|error: T::Error| corrupt(column, error))
}

pub(super) fn time(row: &PgRow, column: &'static str) -> Result<Timestamp> {
    Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column)?.to_jiff())
}

pub(super) fn optional_time(row: &PgRow, column: &'static str) -> Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<jiff_sqlx::Timestamp>, _>(column)?.map(jiff_sqlx::Timestamp::to_jiff))
}

pub(super) fn corrupt(what: &'static str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what, reason: reason.to_string() }
}
