//! Workers in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;

use super::{SqliteStore, now, rows};
use crate::{
    model::{Worker, WorkerId, WorkerStatus},
    store::{NewWorker, Result, WorkerStore},
};

#[async_trait]
impl WorkerStore for SqliteStore {
    async fn register_worker(&self, worker: NewWorker) -> Result<()> {
        let mut transaction = self.begin().await?;
        // a start before this one that was killed could not say goodbye
        sqlx::query(concat!("DELETE FROM workers WHERE name = ? AND heartbeat_at < ", now!(), " - 60000"))
            .bind(&worker.name)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(concat!(
            "INSERT INTO workers (id, name, kind, version, capabilities, slots, registered_at, heartbeat_at)
             VALUES (?, ?, ?, ?, ?, ?, ",
            now!(),
            ", ",
            now!(),
            ")"
        ))
        .bind(worker.id.to_string())
        .bind(&worker.name)
        .bind(rows::to_json(&worker.kind)?)
        .bind(&worker.version)
        .bind(rows::to_json(&worker.capabilities)?)
        .bind(worker.slots)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn drain_worker(&self, id: WorkerId) -> Result<()> {
        sqlx::query("UPDATE workers SET draining = 1 WHERE id = ?")
            .bind(id.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn deregister_worker(&self, id: WorkerId) -> Result<()> {
        sqlx::query("DELETE FROM workers WHERE id = ?").bind(id.to_string()).execute(&self.writer).await?;
        Ok(())
    }

    async fn workers(&self, silence: Duration) -> Result<Vec<Worker>> {
        let rows = sqlx::query(concat!(
            "SELECT id, name, kind, version, capabilities, slots, draining, registered_at, heartbeat_at,
                    heartbeat_at < ", now!(), " - ?1 AS silent,
                    (SELECT count(*) FROM executions WHERE worker = workers.id AND status = 'running') AS running
             FROM workers ORDER BY name, id"
        ))
        .bind(i64::try_from(silence.as_millis()).unwrap_or(i64::MAX))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Worker {
                    id: rows::text(row, "id")?,
                    name: row.try_get("name")?,
                    kind: rows::json(row, "kind")?,
                    version: row.try_get("version")?,
                    capabilities: rows::json(row, "capabilities")?,
                    slots: row.try_get("slots")?,
                    status: match (row.try_get("silent")?, row.try_get("draining")?) {
                        (true, _) => WorkerStatus::Lost,
                        (false, true) => WorkerStatus::Draining,
                        (false, false) => WorkerStatus::Online,
                    },
                    running: row.try_get("running")?,
                    registered_at: rows::time(row, "registered_at")?,
                    heartbeat_at: rows::time(row, "heartbeat_at")?,
                })
            })
            .collect()
    }
}
