//! Packs and actions in PostgreSQL.

use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{LONG_PATIENCE, PATIENCE, PostgresStore, json, rows};
use crate::{
    model::{Action, ActionRef, Pack},
    store::{NewPack, PackStore, Result},
};

fn pack(row: &PgRow) -> Result<Pack> {
    Ok(Pack {
        r#ref: row.try_get("ref")?,
        version: row.try_get("version")?,
        label: row.try_get("label")?,
        description: row.try_get("description")?,
        digest: row.try_get("digest")?,
        pushed_at: rows::time(row, "pushed_at")?,
        actions: rows::number(row, "actions")?,
    })
}

#[async_trait]
impl PackStore for PostgresStore {
    async fn push_pack(&self, new: NewPack) -> Result<Pack> {
        let names: Vec<String> = new.actions.iter().map(|action| action.r#ref.to_string()).collect();
        let definitions = new.actions.iter().map(json::to_stored).collect::<Result<Vec<_>>>()?;
        // a statement does not see the rows that its functions add, so that its actions cannot be counted here
        let query = sqlx::query(
            "SELECT p.*, cardinality($7)::bigint AS actions FROM attune.push_pack($1, $2, $3, $4, $5, $6, $7, $8) AS p",
        )
        .bind(new.r#ref)
        .bind(new.version)
        .bind(new.label)
        .bind(new.description)
        .bind(new.digest)
        .bind(new.archive)
        .bind(names)
        .bind(definitions);
        pack(&self.fetch_one(LONG_PATIENCE, query).await?)
    }

    async fn packs(&self) -> Result<Vec<Pack>> {
        let query = sqlx::query(
            "SELECT p.*, (SELECT count(*) FROM attune.actions a WHERE a.pack = p.ref) AS actions FROM attune.packs p \
             ORDER BY p.ref COLLATE \"C\"",
        );
        self.fetch(PATIENCE, query).await?.iter().map(pack).collect()
    }

    async fn pack_archive(&self, digest: &str) -> Result<Option<Vec<u8>>> {
        let query = sqlx::query("SELECT attune_agent.pack_archive($1)").bind(digest);
        Ok(self.fetch_one(LONG_PATIENCE, query).await?.try_get(0)?)
    }

    async fn actions(&self, pack: Option<&str>) -> Result<Vec<Action>> {
        let query = sqlx::query(
            "SELECT definition FROM attune.actions WHERE $1::text IS NULL OR pack = $1 ORDER BY ref COLLATE \"C\"",
        )
        .bind(pack);
        self.fetch(PATIENCE, query).await?.iter().map(|row| rows::json(row, "definition")).collect()
    }

    async fn action(&self, action: &ActionRef) -> Result<Option<Action>> {
        let query =
            sqlx::query("SELECT definition FROM attune.actions WHERE ref = $1").bind(action.to_string());
        let row = self.fetch_optional(PATIENCE, query).await?;
        row.map(|row| rows::json(&row, "definition")).transpose()
    }
}
