//! Executions in SQLite, as those who submit them see them.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, Sqlite, Transaction};

use super::{SqliteStore, now, rows, rows::execution_columns};
use crate::{
    model::{Action, EarlierAttempt, Execution, ExecutionId},
    requirement::Requirement,
    store::{
        ExecutionFilter, ExecutionStore, MAX_EARLIER_ATTEMPTS, NewExecution, RequirementLoad, Result,
        StoreError, Submission,
    },
};

#[async_trait]
impl ExecutionStore for SqliteStore {
    async fn submit(&self, new: NewExecution) -> Result<Submission> {
        let mut transaction = self.begin().await?;
        if let Some(execution) = by_key(&mut transaction, new.idempotency_key.as_deref()).await? {
            return Ok(Submission { execution, created: false });
        }
        let current = sqlx::query(
            "SELECT definition, version, digest FROM actions JOIN packs ON packs.ref = actions.pack WHERE actions.ref = ?",
        )
        .bind(new.action.to_string())
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or_else(|| StoreError::NotFound(format!("action {}", new.action)))?;
        let action: Action = rows::json(&current, "definition")?;
        let requirement = action.requirement().to_string();
        sqlx::query("INSERT INTO requirements (requirement) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(&requirement)
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query(concat!(
            "INSERT INTO executions (id, action_ref, action, pack_version, pack_digest, parameters, requirement,
                                     attempts_left, idempotency_key, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ", now!(), ") RETURNING ", execution_columns!()
        ))
        .bind(ExecutionId::new().to_string())
        .bind(new.action.to_string())
        .bind(rows::to_json(&action)?)
        .bind(current.try_get::<String, _>("version")?)
        .bind(current.try_get::<String, _>("digest")?)
        .bind(rows::to_json(&new.parameters)?)
        .bind(&requirement)
        .bind(action.max_attempts)
        .bind(&new.idempotency_key)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Submission { execution: rows::execution(&row)?, created: true })
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>> {
        let query = sqlx::query(concat!("SELECT ", execution_columns!(), " FROM executions WHERE id = ?"));
        let row = query.bind(id.to_string()).fetch_optional(&self.reader).await?;
        row.as_ref().map(rows::execution).transpose()
    }

    async fn earlier_attempts(&self, id: ExecutionId) -> Result<Vec<EarlierAttempt>> {
        let query =
            sqlx::query("SELECT * FROM earlier_attempts WHERE execution = ? ORDER BY attempt DESC LIMIT ?")
                .bind(id.to_string())
                .bind(MAX_EARLIER_ATTEMPTS);
        query.fetch_all(&self.reader).await?.iter().map(rows::earlier_attempt).collect()
    }

    async fn executions(&self, filter: &ExecutionFilter) -> Result<Vec<Execution>> {
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        let rows = sqlx::query(concat!(
            "SELECT ",
            execution_columns!(),
            " FROM executions
             WHERE (?1 IS NULL OR action_ref = ?1)
               AND (?2 = '[]' OR status IN (SELECT value FROM json_each(?2)))
               AND (?3 IS NULL OR id < ?3)
             ORDER BY id DESC LIMIT ?4"
        ))
        .bind(filter.action.as_ref().map(ToString::to_string))
        .bind(rows::to_json(&statuses)?)
        .bind(filter.before.map(|id| id.to_string()))
        .bind(filter.limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(rows::execution).collect()
    }

    async fn request_cancel(&self, id: ExecutionId) -> Result<Option<Execution>> {
        let changed = sqlx::query(concat!(
            "UPDATE executions SET cancel_requested = 1,
                 finished_at = CASE status WHEN 'queued' THEN ",
            now!(),
            " END,
                 outcome = CASE status WHEN 'queued' THEN '{\"error\":\"cancelled before it started\"}' END,
                 status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END
             WHERE id = ? AND status IN ('queued', 'running') RETURNING ",
            execution_columns!()
        ))
        .bind(id.to_string())
        .fetch_optional(&self.writer)
        .await?;
        match changed {
            Some(row) => rows::execution(&row).map(Some),
            None => self.execution(id).await,
        }
    }

    async fn oldest_waiting(
        &self,
        than: Duration,
        each: u32,
    ) -> Result<Vec<(Requirement, Vec<ExecutionId>)>> {
        let rows = sqlx::query(concat!(
            "SELECT requirement, id FROM (
                 SELECT requirement, id, created_at,
                        row_number() OVER (PARTITION BY requirement ORDER BY created_at, id) AS place
                 FROM executions WHERE status = 'queued' AND created_at < ",
            now!(),
            " - ?1)
             WHERE place <= ?2 ORDER BY requirement, created_at, id"
        ))
        .bind(i64::try_from(than.as_millis()).unwrap_or(i64::MAX))
        .bind(each)
        .fetch_all(&self.reader)
        .await?;
        let mut waiting: Vec<(Requirement, Vec<ExecutionId>)> = Vec::new();
        for row in &rows {
            let (requirement, id) = (rows::text(row, "requirement")?, rows::text(row, "id")?);
            match waiting.last_mut().filter(|(of, _)| *of == requirement) {
                Some((_, ids)) => ids.push(id),
                None => waiting.push((requirement, vec![id])),
            }
        }
        Ok(waiting)
    }

    async fn requirements(&self) -> Result<Vec<RequirementLoad>> {
        let rows = sqlx::query(
            "SELECT requirement,
                    (SELECT count(*) FROM executions e WHERE e.requirement = r.requirement AND e.status = 'queued') AS waiting,
                    (SELECT count(*) FROM executions e WHERE e.requirement = r.requirement AND e.status = 'running') AS running,
                    (SELECT min(created_at) FROM executions e WHERE e.requirement = r.requirement AND e.status = 'queued') AS oldest
             FROM requirements r ORDER BY requirement",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(RequirementLoad {
                    requirement: rows::text(row, "requirement")?,
                    waiting: row.try_get::<i64, _>("waiting")?.unsigned_abs(),
                    running: row.try_get::<i64, _>("running")?.unsigned_abs(),
                    oldest_waiting: rows::optional(row, "oldest", |millis| {
                        rows::timestamp("created_at", millis)
                    })?,
                })
            })
            .collect()
    }
}

async fn by_key(transaction: &mut Transaction<'_, Sqlite>, key: Option<&str>) -> Result<Option<Execution>> {
    let Some(key) = key else { return Ok(None) };
    let query =
        sqlx::query(concat!("SELECT ", execution_columns!(), " FROM executions WHERE idempotency_key = ?"));
    let row = query.bind(key).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(rows::execution).transpose()
}
