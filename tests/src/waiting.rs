//! Waiting in async tests for what other tasks and processes do.

use std::time::Duration;

/// Longest wait for anything. Several installers at once take more than a minute on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until a look finds something, and returns it.
pub async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    found(what, async || holds().then_some(())).await;
}
