//! Keeping the caches from growing without end.

use std::time::Duration;

use super::Environments;
use crate::{
    cache::{Cache, Collected},
    packs::PackCache,
};

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
        let bytes = collect("environments", environments.cache.clone(), max_age, max_bytes).await;
        // what is left is theirs: they are made again in seconds, and without a network
        let left = max_bytes.saturating_sub(bytes);
        collect("compiled modules", environments.bytecode.cache().clone(), max_age, left).await;
    }
}

/// Tidies one cache, and returns how many bytes are left in it.
async fn collect(what: &'static str, cache: Cache, max_age: Duration, max_bytes: u64) -> u64 {
    let collected = tokio::task::spawn_blocking(move || cache.collect(max_age, max_bytes)).await;
    match collected.map_err(std::io::Error::from).flatten() {
        Ok(Collected { removed, kept, bytes }) => {
            if removed > 0 {
                tracing::info!(what, removed, kept, bytes, "tidied");
            }
            bytes
        }
        // nothing depends on it but space
        Err(error) => {
            tracing::warn!(what, %error, "cannot tidy");
            0
        }
    }
}
