//! Workers in PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use uuid::Uuid;

use super::{PATIENCE, PostgresStore, json, leases::interval, rows};
use crate::{
    model::{Worker, WorkerId, WorkerStatus},
    store::{NewWorker, Result, WorkerStore},
};

#[async_trait]
impl WorkerStore for PostgresStore {
    async fn register_worker(&self, worker: NewWorker) -> Result<()> {
        let query = sqlx::query("SELECT attune_agent.register_worker($1, $2, $3, $4, $5, $6)")
            .bind(Uuid::from(worker.id))
            .bind(&worker.name)
            .bind(json::to_stored(&worker.kind)?)
            .bind(&worker.version)
            .bind(json::to_stored(&worker.capabilities)?)
            .bind(i64::from(worker.slots));
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

    async fn workers(&self, silence: Duration) -> Result<Vec<Worker>> {
        let query = sqlx::query(
            "SELECT w.*, w.heartbeat_at < statement_timestamp() - $1 AS silent,
                    (SELECT count(*) FROM attune.executions e WHERE e.worker = w.id AND e.status = 'running') AS running
             FROM attune.workers w ORDER BY w.name COLLATE \"C\", w.id",
        )
        .bind(interval(silence));
        self.fetch(PATIENCE, query)
            .await?
            .iter()
            .map(|row| {
                Ok(Worker {
                    id: rows::id(row, "id")?,
                    name: row.try_get("name")?,
                    kind: rows::json(row, "kind")?,
                    version: row.try_get("version")?,
                    capabilities: rows::json(row, "capabilities")?,
                    slots: rows::number(row, "slots")?,
                    status: match (row.try_get("silent")?, row.try_get("draining")?) {
                        (true, _) => WorkerStatus::Lost,
                        (false, true) => WorkerStatus::Draining,
                        (false, false) => WorkerStatus::Online,
                    },
                    running: rows::number(row, "running")?,
                    registered_at: rows::time(row, "registered_at")?,
                    heartbeat_at: rows::time(row, "heartbeat_at")?,
                })
            })
            .collect()
    }
}
