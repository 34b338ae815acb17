//! Workers in PostgreSQL.

use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::{PATIENCE, PostgresStore, json, leases::interval, rows};
use crate::{
    model::{Cordon, Runtime, Worker, WorkerId, WorkerStatus, runtime},
    store::{NewWorker, Result, StoreError, WorkerStore},
};

#[async_trait]
impl WorkerStore for PostgresStore {
    async fn register_worker(&self, worker: NewWorker) -> Result<()> {
        let (mut names, mut labels, mut built_in) = (Vec::new(), Vec::new(), Vec::new());
        for offered in &worker.capabilities.runtimes {
            let (label, known) = runtime::template(&offered.name);
            names.push(offered.name.clone());
            labels.push(label.to_owned());
            built_in.push(known);
        }
        let query =
            sqlx::query("SELECT attune_agent.register_worker($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
                .bind(Uuid::from(worker.id))
                .bind(&worker.name)
                .bind(json::to_stored(&worker.kind)?)
                .bind(&worker.version)
                .bind(json::to_stored(&worker.capabilities)?)
                .bind(i64::from(worker.slots))
                .bind(interval(worker.heartbeat_interval))
                .bind(names)
                .bind(labels)
                .bind(built_in);
        self.fetch(PATIENCE, query).await?;
        Ok(())
    }

    async fn drain_worker(&self, id: WorkerId) -> Result<()> {
        let query = sqlx::query("SELECT attune_agent.drain_worker($1)").bind(Uuid::from(id));
        self.fetch(PATIENCE, query).await?;
        Ok(())
    }

    async fn deregister_worker(&self, id: WorkerId) -> Result<()> {
        let query = sqlx::query("SELECT attune_agent.deregister_worker($1)").bind(Uuid::from(id));
        self.fetch(PATIENCE, query).await?;
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<Worker>> {
        let query = sqlx::query(
            "SELECT w.*, w.heartbeat_at < statement_timestamp() - 3 * w.heartbeat_interval AS silent, c.reason, c.cordoned_at,
                    (SELECT count(*) FROM attune.executions e WHERE e.worker = w.id AND e.status = 'running') AS running
             FROM attune.workers w LEFT JOIN attune.cordons c ON c.worker_name = w.name
             ORDER BY w.name COLLATE \"C\", w.id",
        );
        self.fetch(PATIENCE, query).await?.iter().map(worker).collect()
    }

    async fn cordon_worker(&self, name: &str, reason: &str) -> Result<()> {
        let query = sqlx::query(
            "INSERT INTO attune.cordons (worker_name, reason, cordoned_at)
             SELECT $1, $2, statement_timestamp()
             WHERE EXISTS (SELECT FROM attune.workers w WHERE w.name = $1)
                OR EXISTS (SELECT FROM attune.cordons c WHERE c.worker_name = $1)
             ON CONFLICT (worker_name) DO UPDATE SET reason = excluded.reason
             RETURNING 1",
        )
        .bind(name)
        .bind(reason);
        self.fetch_optional(PATIENCE, query).await?.map(drop).ok_or_else(|| unknown(name))
    }

    async fn uncordon_worker(&self, name: &str) -> Result<()> {
        let query = sqlx::query(
            "WITH undone AS (DELETE FROM attune.cordons c WHERE c.worker_name = $1 RETURNING 1)
             SELECT WHERE EXISTS (SELECT FROM undone) OR EXISTS (SELECT FROM attune.workers w WHERE w.name = $1)",
        )
        .bind(name);
        self.fetch_optional(PATIENCE, query).await?.map(drop).ok_or_else(|| unknown(name))
    }

    async fn runtimes(&self) -> Result<Vec<Runtime>> {
        let query = sqlx::query("SELECT * FROM attune.runtimes ORDER BY name COLLATE \"C\"");
        let runtime = |row: &PgRow| {
            Ok(Runtime {
                name: row.try_get("name")?,
                label: row.try_get("label")?,
                built_in: row.try_get("built_in")?,
                registered_by: row.try_get("registered_by")?,
                registered_at: rows::time(row, "registered_at")?,
            })
        };
        self.fetch(PATIENCE, query).await?.iter().map(runtime).collect()
    }
}

fn worker(row: &PgRow) -> Result<Worker> {
    let cordon = match rows::optional_time(row, "cordoned_at")? {
        Some(at) => Some(Cordon { reason: row.try_get("reason")?, at }),
        None => None,
    };
    Ok(Worker {
        id: rows::id(row, "id")?,
        name: row.try_get("name")?,
        kind: rows::json(row, "kind")?,
        version: row.try_get("version")?,
        capabilities: rows::json(row, "capabilities")?,
        slots: rows::number(row, "slots")?,
        status: WorkerStatus::of(row.try_get("silent")?, row.try_get("draining")?, cordon.is_some()),
        cordon,
        running: rows::number(row, "running")?,
        registered_at: rows::time(row, "registered_at")?,
        heartbeat_at: rows::time(row, "heartbeat_at")?,
    })
}

fn unknown(name: &str) -> StoreError {
    StoreError::NotFound(format!("worker {name}"))
}
