//! Leases in SQLite: one conditional statement each.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, sqlite::SqliteRow};

use super::{SqliteStore, logs, now, rows, rows::execution_columns};
use crate::{
    model::{Execution, ExecutionId, ExecutionStatus, Outcome, WorkerId},
    requirement::Requirement,
    store::{Fence, Heartbeat, HeldLease, LeaseStore, NewLogChunk, Reaped, Result, StoreError},
};

/// Whether a worker is registered and not cordoned. Parameter: ?1 worker.
macro_rules! welcome {
    () => {
        "EXISTS (SELECT 1 FROM workers WHERE workers.id = ?1 AND name NOT IN (SELECT worker_name FROM cordons))"
    };
}

/// What claiming changes, for a worker that is welcome. Parameters: ?1 worker, ?2 lease in milliseconds.
macro_rules! claim {
    () => {
        concat!(
            "UPDATE executions SET status = 'running', attempt = attempt + 1, attempts_left = attempts_left - 1, worker = ?1,
                 worker_name = (SELECT name FROM workers WHERE workers.id = ?1), started_at = ", now!(), ",
                 lease_expires_at = ", now!(), " + ?2
             WHERE status = 'queued' AND ", welcome!(), " AND "
        )
    };
}

/// The fence of every later write. Parameters: ?1 execution, ?2 attempt, ?3 worker.
macro_rules! fence {
    () => {
        "WHERE id = ?1 AND attempt = ?2 AND worker = ?3 AND status = 'running'"
    };
}

/// Keeps the last attempt of executions that have just gone back to the queue, ended as `outcome` says.
macro_rules! keep {
    ($outcome:literal) => {
        concat!(
            "INSERT INTO earlier_attempts (execution, attempt, worker_name, started_at, ended_at, outcome)
             SELECT id, attempt, worker_name, started_at, ",
            now!(),
            ", ",
            $outcome,
            " FROM executions"
        )
    };
}

/// A time as people read it.
macro_rules! shown {
    ($column:literal) => {
        concat!("strftime('%Y-%m-%dT%H:%M:%SZ', ", $column, " / 1000, 'unixepoch')")
    };
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn held(row: &SqliteRow) -> Result<HeldLease> {
    Ok(HeldLease {
        execution: rows::text(row, "id")?,
        attempt: row.try_get("attempt")?,
        cancel_requested: row.try_get("cancel_requested")?,
    })
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn claim(&self, worker: WorkerId, id: ExecutionId, lease: Duration) -> Result<Option<Execution>> {
        let row = sqlx::query(concat!(claim!(), "id = ?3 RETURNING ", execution_columns!()))
            .bind(worker.to_string())
            .bind(millis(lease))
            .bind(id.to_string())
            .fetch_optional(&self.writer)
            .await?;
        row.as_ref().map(rows::execution).transpose()
    }

    async fn may_claim(&self, worker: WorkerId) -> Result<bool> {
        let query = sqlx::query(concat!("SELECT ", welcome!())).bind(worker.to_string());
        Ok(query.fetch_one(&self.reader).await?.try_get(0)?)
    }

    async fn known_requirements(&self) -> Result<Vec<Requirement>> {
        let rows = sqlx::query("SELECT requirement FROM requirements").fetch_all(&self.reader).await?;
        rows.iter().map(|row| rows::text(row, "requirement")).collect()
    }

    async fn claim_next(
        &self,
        worker: WorkerId,
        of: &[Requirement],
        lease: Duration,
    ) -> Result<Option<Execution>> {
        let row = sqlx::query(concat!(
            claim!(),
            "id = (
                 SELECT min(oldest) FROM (
                     SELECT (SELECT min(id) FROM executions WHERE status = 'queued' AND requirement = value) AS oldest
                     FROM json_each(?3)))
             RETURNING ",
            execution_columns!()
        ))
        .bind(worker.to_string())
        .bind(millis(lease))
        .bind(rows::to_json(&of)?)
        .fetch_optional(&self.writer)
        .await?;
        row.as_ref().map(rows::execution).transpose()
    }

    async fn heartbeat(&self, worker: WorkerId, lease: Duration) -> Result<Heartbeat> {
        let mut transaction = self.begin().await?;
        let known = sqlx::query(concat!(
            "UPDATE workers SET heartbeat_at = ",
            now!(),
            " WHERE id = ? RETURNING name IN (SELECT worker_name FROM cordons) AS cordoned"
        ))
        .bind(worker.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let known = known.ok_or_else(|| StoreError::NotFound(format!("worker {worker}")))?;
        let rows = sqlx::query(concat!(
            "UPDATE executions SET lease_expires_at = ",
            now!(),
            " + ?2 WHERE worker = ?1 AND status = 'running'
             RETURNING id, attempt, cancel_requested"
        ))
        .bind(worker.to_string())
        .bind(millis(lease))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let leases = rows.iter().map(held).collect::<Result<_>>()?;
        Ok(Heartbeat { leases, cordoned: known.try_get("cordoned")? })
    }

    async fn held(&self, worker: WorkerId) -> Result<Vec<HeldLease>> {
        let query = sqlx::query(
            "SELECT id, attempt, cancel_requested FROM executions WHERE worker = ? AND status = 'running'",
        );
        let rows = query.bind(worker.to_string()).fetch_all(&self.reader).await?;
        rows.iter().map(held).collect()
    }

    async fn finish(
        &self,
        fence: Fence,
        status: ExecutionStatus,
        outcome: Outcome,
        log: Vec<NewLogChunk>,
    ) -> Result<()> {
        debug_assert!(status.is_final(), "an attempt finishes in a final status");
        let mut transaction = self.begin().await?;
        let outcome = rows::to_json(&outcome)?;
        let repeated = sqlx::query(
            "SELECT 1 FROM executions WHERE id = ?1 AND attempt = ?2 AND worker = ?3 AND status = ?4 AND outcome = ?5",
        )
        .bind(fence.execution.to_string())
        .bind(fence.attempt)
        .bind(fence.worker.to_string())
        .bind(status.as_str())
        .bind(&outcome)
        .fetch_optional(&mut *transaction)
        .await?;
        if repeated.is_some() {
            return Ok(());
        }
        logs::insert(&mut transaction, fence, &log).await?;
        let finished = sqlx::query(concat!(
            "UPDATE executions SET status = ?4, outcome = ?5, finished_at = ",
            now!(),
            ", lease_expires_at = NULL ",
            fence!()
        ))
        .bind(fence.execution.to_string())
        .bind(fence.attempt)
        .bind(fence.worker.to_string())
        .bind(status.as_str())
        .bind(outcome)
        .execute(&mut *transaction)
        .await?;
        if finished.rows_affected() == 0 {
            return Err(StoreError::Fenced);
        }
        Ok(transaction.commit().await?)
    }

    async fn release(&self, fence: Fence, outcome: Outcome, log: Vec<NewLogChunk>) -> Result<()> {
        let mut transaction = self.begin().await?;
        logs::insert(&mut transaction, fence, &log).await?;
        let outcome = rows::to_json(&outcome)?;
        let released = sqlx::query(concat!(
            "UPDATE executions SET attempts_left = attempts_left + 1, lease_expires_at = NULL,
                 status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
                 finished_at = CASE WHEN cancel_requested THEN ",
            now!(),
            " END,
                 outcome = CASE WHEN cancel_requested
                     THEN json_set(?4, '$.error', 'cancelled before it was started again') ELSE outcome END ",
            fence!(),
            " RETURNING status"
        ))
        .bind(fence.execution.to_string())
        .bind(fence.attempt)
        .bind(fence.worker.to_string())
        .bind(&outcome)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(StoreError::Fenced)?;
        if rows::status(&released)? == ExecutionStatus::Queued {
            sqlx::query(concat!(keep!("?2"), " WHERE id = ?1"))
                .bind(fence.execution.to_string())
                .bind(outcome)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn reap(&self) -> Result<Vec<Reaped>> {
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(concat!(
            "UPDATE executions SET lease_expires_at = NULL,
                 status = CASE WHEN cancel_requested THEN 'cancelled' WHEN attempts_left > 0 THEN 'queued' ELSE 'lost' END,
                 finished_at = CASE WHEN cancel_requested OR attempts_left = 0 THEN ", now!(), " END,
                 outcome = json_object('error', format('worker %s was not heard of since %s while it ran attempt %d',
                     coalesce(worker_name, worker),
                     -- one that is forgotten is known by the end of its lease only
                     coalesce((SELECT ", shown!("heartbeat_at"), " FROM workers WHERE workers.id = executions.worker),
                         'before ' || ", shown!("lease_expires_at"), "), attempt))
             WHERE status = 'running' AND lease_expires_at < ", now!(), " RETURNING id, requirement, status"
        ))
        .fetch_all(&mut *transaction)
        .await?;
        let reaped = |row: &SqliteRow| {
            Ok(Reaped {
                execution: rows::text(row, "id")?,
                requirement: rows::text(row, "requirement")?,
                status: rows::status(row)?,
            })
        };
        let reaped: Vec<Reaped> = rows.iter().map(reaped).collect::<Result<_>>()?;
        for queued in reaped.iter().filter(|one| one.status == ExecutionStatus::Queued) {
            sqlx::query(concat!(keep!("outcome"), " WHERE id = ?1"))
                .bind(queued.execution.to_string())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(reaped)
    }
}
