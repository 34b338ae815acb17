//! Executions in PostgreSQL, as those who submit them see them.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};
use uuid::Uuid;

use super::{LONG_PATIENCE, PATIENCE, PostgresStore, json, leases::interval, rows, rows::execution_columns};
use crate::{
    model::{Action, EarlierAttempt, Execution, ExecutionId, ExecutionStatus},
    requirement::Requirement,
    store::{
        ExecutionFilter, ExecutionStore, MAX_EARLIER_ATTEMPTS, NewExecution, RequirementLoad, Result,
        StoreError, Submission,
    },
};

#[async_trait]
impl ExecutionStore for PostgresStore {
    async fn submit(&self, new: NewExecution) -> Result<Submission> {
        let found = |execution| Submission { execution, created: false };
        if let Some(execution) = self.by_key(new.idempotency_key.as_deref()).await? {
            return Ok(found(execution));
        }
        let current = sqlx::query(
            "SELECT a.definition, p.version, p.digest FROM attune.actions a JOIN attune.packs p ON p.ref = a.pack WHERE a.ref = $1",
        )
        .bind(new.action.to_string());
        let current = self
            .fetch_optional(PATIENCE, current)
            .await?
            .ok_or_else(|| StoreError::NotFound(format!("action {}", new.action)))?;
        let action: Action = rows::json(&current, "definition")?;
        let insert = sqlx::query(concat!(
            "WITH needed AS (INSERT INTO attune.requirements (requirement) VALUES ($6) ON CONFLICT DO NOTHING)
             INSERT INTO attune.executions (id, action_ref, action, pack_version, pack_digest, parameters, requirement,
                                            attempts_left, idempotency_key, created_at)
             VALUES (attune.new_execution_id(), $1, $2, $3, $4, $5, $6, $7, $8, statement_timestamp())
             ON CONFLICT (idempotency_key) DO NOTHING RETURNING ",
            execution_columns!()
        ))
        .bind(new.action.to_string())
        .bind(json::to_stored(&action)?)
        .bind(current.try_get::<&str, _>("version")?)
        .bind(current.try_get::<&str, _>("digest")?)
        .bind(json::to_stored(&new.parameters)?)
        .bind(action.requirement().to_string())
        .bind(i64::from(action.max_attempts))
        .bind(&new.idempotency_key);
        if let Some(row) = self.fetch_optional(LONG_PATIENCE, insert).await? {
            return Ok(Submission { execution: rows::execution(&row)?, created: true });
        }
        // somebody else was quicker with the same key
        let execution = self.by_key(new.idempotency_key.as_deref()).await?;
        execution.map(found).ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>> {
        let query =
            sqlx::query(concat!("SELECT ", execution_columns!(), " FROM attune.executions WHERE id = $1"))
                .bind(Uuid::from(id));
        self.fetch_optional(PATIENCE, query).await?.as_ref().map(rows::execution).transpose()
    }

    async fn earlier_attempts(&self, id: ExecutionId) -> Result<Vec<EarlierAttempt>> {
        let query = sqlx::query(
            "SELECT * FROM attune.earlier_attempts WHERE execution = $1 ORDER BY attempt DESC LIMIT $2",
        )
        .bind(Uuid::from(id))
        .bind(i64::from(MAX_EARLIER_ATTEMPTS));
        self.fetch(PATIENCE, query).await?.iter().map(rows::earlier_attempt).collect()
    }

    async fn executions(&self, filter: &ExecutionFilter) -> Result<Vec<Execution>> {
        let before = filter.before.map_or(Uuid::max(), Uuid::from);
        let limit = i64::from(filter.limit);
        let mut query = QueryBuilder::<Postgres>::new(concat!("SELECT ", execution_columns!()));
        if filter.action.is_none() && filter.statuses.is_empty() {
            query.push(" FROM attune.executions WHERE id < ").push_bind(before);
        } else {
            // The newest of each status, and of these the newest. Ranges in place of equalities, because then only the index of
            // the list has the order that is asked for: with equalities, the planner may walk through all ids instead.
            let statuses =
                if filter.statuses.is_empty() { &ExecutionStatus::ALL[..] } else { &filter.statuses };
            let names: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
            query.push(" FROM (SELECT DISTINCT unnest(").push_bind(names).push("::text[]) AS wanted) w");
            query.push(" CROSS JOIN LATERAL (SELECT * FROM attune.executions e WHERE ");
            if let Some(action) = &filter.action {
                query.push("(e.action_ref, e.status) >= (").push_bind(action.to_string());
                query
                    .push(", w.wanted) AND (e.action_ref, e.status, e.id) < (")
                    .push_bind(action.to_string());
                query.push(", w.wanted, ").push_bind(before);
                query.push(") ORDER BY e.action_ref DESC, e.status DESC, e.id DESC LIMIT ").push_bind(limit);
            } else {
                query.push("e.status >= w.wanted AND (e.status, e.id) < (w.wanted, ").push_bind(before);
                query.push(") ORDER BY e.status DESC, e.id DESC LIMIT ").push_bind(limit);
            }
            query.push(") newest");
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        self.fetch(LONG_PATIENCE, query.build()).await?.iter().map(rows::execution).collect()
    }

    async fn request_cancel(&self, id: ExecutionId) -> Result<Option<Execution>> {
        let update = sqlx::query(concat!(
            "UPDATE attune.executions SET cancel_requested = true,
                 finished_at = CASE status WHEN 'queued' THEN statement_timestamp() END,
                 outcome = CASE status WHEN 'queued' THEN '{\"error\":\"cancelled before it started\"}'::jsonb END,
                 status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END
             WHERE id = $1 AND status IN ('queued', 'running') RETURNING ",
            execution_columns!()
        ))
        .bind(Uuid::from(id));
        match self.fetch_optional(PATIENCE, update).await? {
            Some(row) => rows::execution(&row).map(Some),
            None => self.execution(id).await,
        }
    }

    async fn oldest_waiting(
        &self,
        than: Duration,
        each: u32,
    ) -> Result<Vec<(Requirement, Vec<ExecutionId>)>> {
        let query = sqlx::query(
            "SELECT r.requirement, o.ids FROM attune.requirements r
             CROSS JOIN LATERAL (SELECT array_agg(e.id ORDER BY e.created_at, e.id) AS ids
                                 FROM (SELECT id, created_at FROM attune.executions
                                       WHERE status = 'queued' AND requirement = r.requirement
                                         AND created_at < statement_timestamp() - $1
                                       ORDER BY created_at, id LIMIT $2) e) o
             WHERE o.ids IS NOT NULL ORDER BY r.requirement COLLATE \"C\"",
        )
        .bind(interval(than))
        .bind(i64::from(each));
        let read = |row: &PgRow| {
            let ids: Vec<Uuid> = row.try_get("ids")?;
            Ok((rows::text(row, "requirement")?, ids.into_iter().map(Into::into).collect()))
        };
        self.fetch(PATIENCE, query).await?.iter().map(read).collect()
    }

    async fn requirements(&self) -> Result<Vec<RequirementLoad>> {
        let query = sqlx::query(
            "SELECT r.requirement, coalesce(w.waiting, 0) AS waiting, coalesce(n.running, 0) AS running, o.created_at AS oldest
             FROM attune.requirements r
             LEFT JOIN (SELECT requirement, count(*) AS waiting FROM attune.executions WHERE status = 'queued'
                        GROUP BY requirement) w USING (requirement)
             LEFT JOIN (SELECT requirement, count(*) AS running FROM attune.executions WHERE status = 'running'
                        GROUP BY requirement) n USING (requirement)
             LEFT JOIN LATERAL (SELECT created_at FROM attune.executions e
                                WHERE e.status = 'queued' AND e.requirement = r.requirement
                                ORDER BY created_at, id LIMIT 1) o ON true
             ORDER BY r.requirement COLLATE \"C\"",
        );
        self.fetch(LONG_PATIENCE, query)
            .await?
            .iter()
            .map(|row| {
                Ok(RequirementLoad {
                    requirement: rows::text(row, "requirement")?,
                    waiting: rows::number(row, "waiting")?,
                    running: rows::number(row, "running")?,
                    oldest_waiting: rows::optional_time(row, "oldest")?,
                })
            })
            .collect()
    }
}

impl PostgresStore {
    async fn by_key(&self, key: Option<&str>) -> Result<Option<Execution>> {
        let Some(key) = key else { return Ok(None) };
        let query = sqlx::query(concat!(
            "SELECT ",
            execution_columns!(),
            " FROM attune.executions WHERE idempotency_key = $1"
        ))
        .bind(key);
        self.fetch_optional(PATIENCE, query).await?.as_ref().map(rows::execution).transpose()
    }
}
