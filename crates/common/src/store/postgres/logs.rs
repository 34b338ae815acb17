//! Logs in PostgreSQL.

use async_trait::async_trait;
use sqlx::Row;
use uuid::Uuid;

use super::{LONG_PATIENCE, PostgresStore, leases::unless_fenced, rows};
use crate::{
    model::{ExecutionId, LogChunk, LogStream},
    store::{Fence, LogStore, NewLogChunk, Result},
};

/// Pieces of log as the arrays that functions take.
pub(super) struct Pieces {
    pub(super) positions: Vec<i64>,
    pub(super) streams: Vec<&'static str>,
    pub(super) data: Vec<Vec<u8>>,
}

impl From<Vec<NewLogChunk>> for Pieces {
    fn from(chunks: Vec<NewLogChunk>) -> Self {
        Self {
            positions: chunks.iter().map(|chunk| chunk.offset.cast_signed()).collect(),
            streams: chunks.iter().map(|chunk| chunk.stream.as_str()).collect(),
            data: chunks.into_iter().map(|chunk| chunk.data).collect(),
        }
    }
}

#[async_trait]
impl LogStore for PostgresStore {
    async fn append_log(&self, fence: Fence, chunks: Vec<NewLogChunk>) -> Result<()> {
        let pieces = Pieces::from(chunks);
        let query = sqlx::query("SELECT attune_agent.append_log($1, $2, $3, $4, $5, $6)")
            .bind(Uuid::from(fence.execution))
            .bind(i64::from(fence.attempt))
            .bind(Uuid::from(fence.worker))
            .bind(pieces.positions)
            .bind(pieces.streams)
            .bind(pieces.data);
        unless_fenced(&self.fetch_one(LONG_PATIENCE, query).await?)
    }

    async fn read_log(
        &self,
        id: ExecutionId,
        attempt: u32,
        from: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogChunk>> {
        // the running total starts at the first chunk that is wanted: it is always there, however large
        let query = sqlx::query(
            "SELECT position, stream, written_at, data FROM (
                 SELECT position, stream, written_at, data,
                        sum(length(data)) OVER (ORDER BY position) - length(data) AS before
                 FROM attune.log_chunks
                 WHERE execution = $1 AND attempt = $2
                   AND position >= coalesce((SELECT max(position) FROM attune.log_chunks
                                             WHERE execution = $1 AND attempt = $2 AND position <= $3), 0)
                   AND position + length(data) > $3
                 ORDER BY position LIMIT 4096) AS chunk
             WHERE before < $4 ORDER BY position",
        )
        .bind(Uuid::from(id))
        .bind(i64::from(attempt))
        .bind(i64::try_from(from).unwrap_or(i64::MAX))
        .bind(i64::try_from(max_bytes.max(1)).unwrap_or(i64::MAX));
        let rows = self.fetch(LONG_PATIENCE, query).await?;
        let mut chunks = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: &str = row.try_get("stream")?;
            let mut chunk = LogChunk {
                offset: rows::number(row, "position")?,
                stream: LogStream::from_name(name).ok_or_else(|| rows::corrupt("stream", name))?,
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
