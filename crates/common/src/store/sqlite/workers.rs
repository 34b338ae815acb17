//! Workers in SQLite.

use async_trait::async_trait;
use sqlx::{Row, sqlite::SqliteRow};

use super::{SqliteStore, leases::millis, now, rows};
use crate::{
    model::{Cordon, Runtime, Worker, WorkerId, WorkerStatus, runtime},
    store::{NewWorker, Result, StoreError, WorkerStore},
};

/// Whether a worker is lost.
macro_rules! silent {
    () => {
        concat!("heartbeat_at < ", now!(), " - 3 * heartbeat_interval")
    };
}

#[async_trait]
impl WorkerStore for SqliteStore {
    async fn register_worker(&self, worker: NewWorker) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(concat!(
            "DELETE FROM workers WHERE id <> ? AND ",
            silent!(),
            " AND (name = ? OR heartbeat_at < ",
            now!(),
            // nobody takes the name of a container that is gone; a day by default
            " - 8640 * heartbeat_interval)"
        ))
        .bind(worker.id.to_string())
        .bind(&worker.name)
        .execute(&mut *transaction)
        .await?;
        for offered in &worker.capabilities.runtimes {
            let (label, built_in) = runtime::template(&offered.name);
            sqlx::query(concat!(
                "INSERT INTO runtimes (name, label, built_in, registered_by, registered_at) VALUES (?, ?, ?, ?, ",
                now!(),
                ") ON CONFLICT DO NOTHING"
            ))
            .bind(&offered.name)
            .bind(label)
            .bind(built_in)
            .bind(&worker.name)
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(concat!(
            "INSERT INTO workers (id, name, kind, version, capabilities, slots, heartbeat_interval, registered_at, heartbeat_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ",
            now!(),
            ", ",
            now!(),
            ") ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, version = excluded.version,
                 capabilities = excluded.capabilities, slots = excluded.slots, heartbeat_interval = excluded.heartbeat_interval,
                 registered_at = excluded.registered_at, heartbeat_at = excluded.heartbeat_at"
        ))
        .bind(worker.id.to_string())
        .bind(&worker.name)
        .bind(rows::to_json(&worker.kind)?)
        .bind(&worker.version)
        .bind(rows::to_json(&worker.capabilities)?)
        .bind(worker.slots)
        .bind(millis(worker.heartbeat_interval))
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

    async fn workers(&self) -> Result<Vec<Worker>> {
        let rows = sqlx::query(concat!(
            "SELECT workers.*, ",
            silent!(),
            " AS silent, reason, cordoned_at,
                    (SELECT count(*) FROM executions WHERE worker = workers.id AND status = 'running') AS running
             FROM workers LEFT JOIN cordons ON worker_name = name ORDER BY name, id"
        ))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(worker).collect()
    }

    async fn cordon_worker(&self, name: &str, reason: &str) -> Result<()> {
        let cordoned = sqlx::query(concat!(
            "INSERT INTO cordons (worker_name, reason, cordoned_at) SELECT ?1, ?2, ",
            now!(),
            " WHERE ?1 IN (SELECT name FROM workers UNION SELECT worker_name FROM cordons)
             ON CONFLICT (worker_name) DO UPDATE SET reason = excluded.reason"
        ))
        .bind(name)
        .bind(reason)
        .execute(&self.writer)
        .await?;
        if cordoned.rows_affected() == 0 { Err(unknown(name)) } else { Ok(()) }
    }

    async fn uncordon_worker(&self, name: &str) -> Result<()> {
        let mut transaction = self.begin().await?;
        let undone = sqlx::query("DELETE FROM cordons WHERE worker_name = ?")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        let worker = sqlx::query("SELECT 1 FROM workers WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await?;
        if undone.rows_affected() == 0 && worker.is_none() {
            return Err(unknown(name));
        }
        Ok(transaction.commit().await?)
    }

    async fn runtimes(&self) -> Result<Vec<Runtime>> {
        let rows = sqlx::query("SELECT * FROM runtimes ORDER BY name").fetch_all(&self.reader).await?;
        let runtime = |row: &SqliteRow| {
            Ok(Runtime {
                name: row.try_get("name")?,
                label: row.try_get("label")?,
                built_in: row.try_get("built_in")?,
                registered_by: row.try_get("registered_by")?,
                registered_at: rows::time(row, "registered_at")?,
            })
        };
        rows.iter().map(runtime).collect()
    }
}

fn worker(row: &SqliteRow) -> Result<Worker> {
    let at = rows::optional(row, "cordoned_at", |millis| rows::timestamp("cordoned_at", millis))?;
    let cordon = match at {
        Some(at) => Some(Cordon { reason: row.try_get("reason")?, at }),
        None => None,
    };
    Ok(Worker {
        id: rows::text(row, "id")?,
        name: row.try_get("name")?,
        kind: rows::json(row, "kind")?,
        version: row.try_get("version")?,
        capabilities: rows::json(row, "capabilities")?,
        slots: row.try_get("slots")?,
        status: WorkerStatus::of(row.try_get("silent")?, row.try_get("draining")?, cordon.is_some()),
        cordon,
        running: row.try_get("running")?,
        registered_at: rows::time(row, "registered_at")?,
        heartbeat_at: rows::time(row, "heartbeat_at")?,
    })
}

fn unknown(name: &str) -> StoreError {
    StoreError::NotFound(format!("worker {name}"))
}
