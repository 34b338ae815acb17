//! Leases in PostgreSQL: every operation is a function that agents may call.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{
    Row,
    postgres::{PgRow, types::PgInterval},
};
use uuid::Uuid;

use super::{LONG_PATIENCE, PATIENCE, PostgresStore, json, logs::Pieces, rows, rows::execution_columns};
use crate::{
    model::{Execution, ExecutionId, ExecutionStatus, Outcome, WorkerId},
    requirement::Requirement,
    store::{Fence, Heartbeat, HeldLease, LeaseStore, NewLogChunk, Reaped, Result, StoreError},
};

/// A lease as an interval; what is longer than PostgreSQL's times reach becomes a long one.
pub(super) fn interval(lease: Duration) -> PgInterval {
    const LONGEST: i64 = 10 * 365 * 86_400 * 1_000_000;
    let microseconds = i64::try_from(lease.as_micros()).unwrap_or(LONGEST).min(LONGEST);
    PgInterval { months: 0, days: 0, microseconds }
}

fn held(row: &PgRow) -> Result<HeldLease> {
    Ok(HeldLease {
        execution: rows::id(row, "execution")?,
        attempt: rows::number(row, "attempt")?,
        cancel_requested: row.try_get("cancel_requested")?,
    })
}

/// What a fenced function answers.
pub(super) fn unless_fenced(row: &PgRow) -> Result<()> {
    if row.try_get(0)? { Ok(()) } else { Err(StoreError::Fenced) }
}

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn claim(&self, worker: WorkerId, id: ExecutionId, lease: Duration) -> Result<Option<Execution>> {
        let query =
            sqlx::query(concat!("SELECT ", execution_columns!(), " FROM attune_agent.claim($1, $2, $3)"))
                .bind(Uuid::from(worker))
                .bind(Uuid::from(id))
                .bind(interval(lease));
        self.fetch_optional(PATIENCE, query).await?.as_ref().map(rows::execution).transpose()
    }

    async fn may_claim(&self, worker: WorkerId) -> Result<bool> {
        let query = sqlx::query("SELECT attune_agent.may_claim($1)").bind(Uuid::from(worker));
        Ok(self.fetch_one(PATIENCE, query).await?.try_get(0)?)
    }

    async fn known_requirements(&self) -> Result<Vec<Requirement>> {
        let query = sqlx::query("SELECT requirement FROM attune_agent.known_requirements() AS requirement");
        self.fetch(PATIENCE, query).await?.iter().map(|row| rows::text(row, "requirement")).collect()
    }

    async fn claim_next(
        &self,
        worker: WorkerId,
        of: &[Requirement],
        lease: Duration,
    ) -> Result<Option<Execution>> {
        let query = sqlx::query(concat!(
            "SELECT ",
            execution_columns!(),
            " FROM attune_agent.claim_next($1, $2, $3)"
        ))
        .bind(Uuid::from(worker))
        .bind(of.iter().map(ToString::to_string).collect::<Vec<_>>())
        .bind(interval(lease));
        self.fetch_optional(PATIENCE, query).await?.as_ref().map(rows::execution).transpose()
    }

    async fn heartbeat(&self, worker: WorkerId, lease: Duration) -> Result<Heartbeat> {
        let query = sqlx::query("SELECT * FROM attune_agent.heartbeat($1, $2)")
            .bind(Uuid::from(worker))
            .bind(interval(lease));
        let rows = self.fetch(PATIENCE, query).await?;
        let Some(first) = rows.first() else {
            return Err(StoreError::NotFound(format!("worker {worker}")));
        };
        let cordoned = first.try_get("cordoned")?;
        let mut leases = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get::<Option<Uuid>, _>("execution")?.is_some() {
                leases.push(held(row)?);
            }
        }
        Ok(Heartbeat { leases, cordoned })
    }

    async fn held(&self, worker: WorkerId) -> Result<Vec<HeldLease>> {
        let query = sqlx::query("SELECT * FROM attune_agent.held($1)").bind(Uuid::from(worker));
        self.fetch(PATIENCE, query).await?.iter().map(held).collect()
    }

    async fn finish(
        &self,
        fence: Fence,
        status: ExecutionStatus,
        outcome: Outcome,
        log: Vec<NewLogChunk>,
    ) -> Result<()> {
        debug_assert!(status.is_final(), "an attempt finishes in a final status");
        let pieces = Pieces::from(log);
        let query = sqlx::query("SELECT attune_agent.finish($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(Uuid::from(fence.execution))
            .bind(i64::from(fence.attempt))
            .bind(Uuid::from(fence.worker))
            .bind(status.as_str())
            .bind(json::to_stored(&outcome)?)
            .bind(pieces.positions)
            .bind(pieces.streams)
            .bind(pieces.data);
        unless_fenced(&self.fetch_one(LONG_PATIENCE, query).await?)
    }

    async fn release(&self, fence: Fence, outcome: Outcome, log: Vec<NewLogChunk>) -> Result<()> {
        let pieces = Pieces::from(log);
        let query = sqlx::query("SELECT attune_agent.release($1, $2, $3, $4, $5, $6, $7)")
            .bind(Uuid::from(fence.execution))
            .bind(i64::from(fence.attempt))
            .bind(Uuid::from(fence.worker))
            .bind(json::to_stored(&outcome)?)
            .bind(pieces.positions)
            .bind(pieces.streams)
            .bind(pieces.data);
        unless_fenced(&self.fetch_one(LONG_PATIENCE, query).await?)
    }

    async fn reap(&self) -> Result<Vec<Reaped>> {
        let query = sqlx::query("SELECT execution, requirement, status FROM attune_agent.reap()");
        let reaped = |row: &PgRow| {
            Ok(Reaped {
                execution: rows::id(row, "execution")?,
                requirement: rows::text(row, "requirement")?,
                status: rows::status(row)?,
            })
        };
        self.fetch(PATIENCE, query).await?.iter().map(reaped).collect()
    }
}
