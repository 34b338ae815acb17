//! Keeping the caches from growing without end.

use std::time::Duration;

use super::Environments;
use crate::{cache::Cache, packs::PackCache};

/// How often caches are looked through while the worker runs.
const INTERVAL: Duration = Duration::from_hours(1);

/// Removes unpacked packs, environments and compiled modules that were not used for long, now and every hour. Never returns.
pub async fn regularly(packs: PackCache, environments: Environments) {
    let mut timer = tokio::time::interval(INTERVAL);
    loop {
        timer.tick().await;
        let settings = &environments.settings;
        let (max_age, max_bytes) = (settings.environment_max_age, settings.environment_max_bytes);
        // packs are small, and the store has them: only their age counts
        collect("packs", packs.cache().clone(), max_age, u64::MAX).await;
        collect("environments", environments.cache.clone(), max_age, max_bytes).await;
        collect("bytecode", environments.bytecode.cache().clone(), max_age, max_bytes).await;
    }
}

async fn collect(what: &'static str, cache: Cache, max_age: Duration, max_bytes: u64) {
    let collected = tokio::task::spawn_blocking(move || cache.collect(max_age, max_bytes)).await;
    match collected.map_err(std::io::Error::from).flatten() {
        Ok(collected) if collected.removed > 0 => {
            tracing::info!(
                what,
                removed = collected.removed,
                kept = collected.kept,
                bytes = collected.bytes,
                "tidied"
            );
        }
        Ok(_) => {}
        // nothing depends on it but space
        Err(error) => tracing::warn!(what, %error, "cannot tidy"),
    }
}
