//! Timers that may not be set.

use tokio::time::{Instant, sleep_until};

/// Waits until a moment; for ever when there is none.
pub async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
