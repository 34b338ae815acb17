//! Packs and actions in SQLite.

use async_trait::async_trait;
use sqlx::{Row, sqlite::SqliteRow};

use super::{SqliteStore, now, rows};
use crate::{
    model::{Action, ActionRef, Pack},
    store::{NewPack, PackStore, Result},
};

macro_rules! select_packs {
    () => {
        "SELECT ref, version, label, description, digest, pushed_at,
                (SELECT count(*) FROM actions WHERE actions.pack = packs.ref) AS actions
         FROM packs "
    };
}

fn pack(row: &SqliteRow) -> Result<Pack> {
    Ok(Pack {
        r#ref: row.try_get("ref")?,
        version: row.try_get("version")?,
        label: row.try_get("label")?,
        description: row.try_get("description")?,
        digest: row.try_get("digest")?,
        pushed_at: rows::time(row, "pushed_at")?,
        actions: row.try_get("actions")?,
    })
}

#[async_trait]
impl PackStore for SqliteStore {
    async fn push_pack(&self, new: NewPack) -> Result<Pack> {
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO pack_archives (digest, archive) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(&new.digest)
            .bind(&new.archive)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(concat!(
            "INSERT INTO packs (ref, version, label, description, digest, pushed_at) VALUES (?, ?, ?, ?, ?, ",
            now!(),
            ")
             ON CONFLICT (ref) DO UPDATE SET version = excluded.version, label = excluded.label,
                 description = excluded.description, digest = excluded.digest, pushed_at = excluded.pushed_at
             WHERE packs.digest <> excluded.digest"
        ))
        .bind(&new.r#ref)
        .bind(&new.version)
        .bind(&new.label)
        .bind(&new.description)
        .bind(&new.digest)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM actions WHERE pack = ?").bind(&new.r#ref).execute(&mut *transaction).await?;
        for action in &new.actions {
            sqlx::query("INSERT INTO actions (ref, pack, definition) VALUES (?, ?, ?)")
                .bind(action.r#ref.to_string())
                .bind(&new.r#ref)
                .bind(rows::to_json(action)?)
                .execute(&mut *transaction)
                .await?;
        }
        let row = sqlx::query(concat!(select_packs!(), "WHERE ref = ?"))
            .bind(&new.r#ref)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        pack(&row)
    }

    async fn packs(&self) -> Result<Vec<Pack>> {
        let rows = sqlx::query(concat!(select_packs!(), "ORDER BY ref")).fetch_all(&self.reader).await?;
        rows.iter().map(pack).collect()
    }

    async fn pack_archive(&self, digest: &str) -> Result<Option<Vec<u8>>> {
        let query = sqlx::query_scalar("SELECT archive FROM pack_archives WHERE digest = ?");
        Ok(query.bind(digest).fetch_optional(&self.reader).await?)
    }

    async fn actions(&self, pack: Option<&str>) -> Result<Vec<Action>> {
        let query = sqlx::query("SELECT definition FROM actions WHERE ?1 IS NULL OR pack = ?1 ORDER BY ref");
        let rows = query.bind(pack).fetch_all(&self.reader).await?;
        rows.iter().map(|row| rows::json(row, "definition")).collect()
    }

    async fn action(&self, action: &ActionRef) -> Result<Option<Action>> {
        let query = sqlx::query("SELECT definition FROM actions WHERE ref = ?");
        let row = query.bind(action.to_string()).fetch_optional(&self.reader).await?;
        row.map(|row| rows::json(&row, "definition")).transpose()
    }
}
