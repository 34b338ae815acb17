//! Tests on real servers, which they start for themselves.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod postgres_doorbell;
mod postgres_fleet;
mod postgres_harness;
mod postgres_indexes;
mod postgres_roles;
mod postgres_store;
mod postgres_tls;

use std::sync::Arc;

use attune_common::store::{self, Backend, Client, Store, StoreError};

const CLIENT: Client = Client { name: "attune-test", max_connections: 10 };

async fn backend(url: &str) -> Backend {
    open(url).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn open(url: &str) -> Result<Backend, StoreError> {
    store::open(&url.into(), &CLIENT).await
}

/// The store as the API opens it, and as an agent does.
async fn both(database: &attune_tests::postgres::Database<'_>) -> (Arc<dyn Store>, Arc<dyn Store>) {
    let api = backend(&database.url("attune_api")).await;
    (api.store(), backend(&database.url("attune_agent")).await.store())
}
