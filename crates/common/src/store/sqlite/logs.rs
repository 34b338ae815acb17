//! Logs in SQLite.

use async_trait::async_trait;
use sqlx::{Row, Sqlite, Transaction};

use super::{SqliteStore, now, rows};
use crate::{
    model::{ExecutionId, LogChunk, LogStream},
    store::{Fence, LogStore, NewLogChunk, Result, StoreError},
};

/// Inserts chunks as long as the fence is current; the condition is in the statement itself. Those that are there already
/// were inserted by a first try whose answer was lost.
pub(super) async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    fence: Fence,
    chunks: &[NewLogChunk],
) -> Result<()> {
    for chunk in chunks {
        let inserted = sqlx::query(concat!(
            "INSERT INTO log_chunks (execution, attempt, position, stream, written_at, data)
             SELECT ?1, ?2, ?4, ?5, ", now!(), ", ?6
             WHERE EXISTS (SELECT 1 FROM executions WHERE id = ?1 AND attempt = ?2 AND worker = ?3 AND status = 'running')
             ON CONFLICT DO UPDATE SET data = data"
        ))
        .bind(fence.execution.to_string())
        .bind(fence.attempt)
        .bind(fence.worker.to_string())
        .bind(chunk.offset.cast_signed())
        .bind(chunk.stream.as_str())
        .bind(&chunk.data)
        .execute(&mut **transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::Fenced);
        }
    }
    Ok(())
}

#[async_trait]
impl LogStore for SqliteStore {
    async fn append_log(&self, fence: Fence, chunks: Vec<NewLogChunk>) -> Result<()> {
        let mut transaction = self.begin().await?;
        insert(&mut transaction, fence, &chunks).await?;
        Ok(transaction.commit().await?)
    }

    async fn read_log(
        &self,
        id: ExecutionId,
        attempt: u32,
        from: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogChunk>> {
        // the running total starts at the first chunk that is wanted: it is always there, however large
        let rows = sqlx::query(
            "SELECT position, stream, written_at, data FROM (
                 SELECT position, stream, written_at, data,
                        sum(length(data)) OVER (ORDER BY position) - length(data) AS before
                 FROM log_chunks
                 WHERE execution = ?1 AND attempt = ?2
                   AND position >= coalesce((SELECT max(position) FROM log_chunks
                                             WHERE execution = ?1 AND attempt = ?2 AND position <= ?3), 0)
                   AND position + length(data) > ?3
                 ORDER BY position LIMIT 4096)
             WHERE before < ?4 ORDER BY position",
        )
        .bind(id.to_string())
        .bind(attempt)
        .bind(i64::try_from(from).unwrap_or(i64::MAX))
        .bind(i64::try_from(max_bytes.max(1)).unwrap_or(i64::MAX))
        .fetch_all(&self.reader)
        .await?;
        let mut chunks = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: String = row.try_get("stream")?;
            let mut chunk = LogChunk {
                offset: row.try_get::<i64, _>("position")?.unsigned_abs(),
                stream: LogStream::from_name(&name)
                    .ok_or(StoreError::Corrupt { what: "stream", reason: name })?,
                at: rows::time(row, "written_at")?,
                data: row.try_get("data")?,
            };
            if let Some(skip) = from.checked_sub(chunk.offset).filter(|skip| *skip > 0) {
                chunk.data.drain(..skip as usize);
                chunk.offset = from;
            }
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}
