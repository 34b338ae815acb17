//! The doorbell: tells workers that it is worth looking at the store.
//!
//! Losing, repeating or delaying a ring costs latency, never correctness: the store is the truth.

mod amqp;
mod heard;
mod local;
mod offer;
mod postgres;

use std::{sync::Arc, time::Duration};

pub use amqp::AmqpDoorbell;
use async_trait::async_trait;
pub use local::LocalDoorbell;
pub use offer::{Answer, Offer};
pub use postgres::PostgresDoorbell;
use serde::{Deserialize, Serialize};

use crate::{config::Config, model::ExecutionId, requirement::Requirement, store::Backend};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ring {
    /// An execution was queued.
    Queued {
        /// The execution.
        execution: ExecutionId,
        /// What it needs.
        requirement: Requirement,
    },
    /// Somebody asked for the end of a running execution.
    CancelRequested {
        /// The execution.
        execution: ExecutionId,
    },
}

impl Ring {
    /// What it means for whoever can only look.
    fn wake(&self) -> Wake {
        match self {
            Self::Queued { .. } => Wake::LookForWork,
            Self::CancelRequested { .. } => Wake::LookForCancellations,
        }
    }
}

/// What a listener should do.
#[derive(Debug, PartialEq, Eq)]
pub enum Wake {
    /// Take what the store has, as far as slots are free.
    LookForWork,
    /// Look whether leases were cancelled.
    LookForCancellations,
    /// Both: nothing was heard for a while, and something may have been missed.
    Sweep,
    /// Take this execution if it is still queued, and answer the offer.
    Offered(Offer),
}

/// What can go wrong with a doorbell.
#[derive(Clone, Debug, thiserror::Error)]
#[error("doorbell: {0}")]
pub struct DoorbellError(pub String);

/// Rings, and lets workers listen.
#[async_trait]
pub trait Doorbell: Send + Sync + 'static {
    /// Tells listeners.
    async fn ring(&self, ring: &Ring) -> Result<(), DoorbellError>;
    /// Starts listening.
    async fn listen(&self) -> Result<Box<dyn Listener>, DoorbellError>;

    /// Where rings for queued executions are kept until they are answered; nothing where only who listens hears them.
    fn kept_rings(&self) -> Option<&dyn KeptRings> {
        None
    }
}

/// Rings that wait for an answer.
#[async_trait]
pub trait KeptRings: Send + Sync {
    /// How many are kept for a requirement, without those that are being answered at this moment.
    async fn count(&self, requirement: &Requirement) -> Result<u32, DoorbellError>;
}

/// Rings a doorbell. One that is broken only costs time, since workers also look by themselves.
pub async fn ring(doorbell: &dyn Doorbell, ring: &Ring) {
    if let Err(error) = doorbell.ring(ring).await {
        tracing::warn!(%error, "cannot ring the doorbell; workers will find the work at their next look");
    }
}

/// A worker's ear.
#[async_trait]
pub trait Listener: Send {
    /// Waits for the next wake-up. Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// When nothing can be heard any more. What was rung since is lost: listen again, and look at everything.
    async fn wake(&mut self) -> Result<Wake, DoorbellError>;

    /// Whether queued executions are offered, one by one; otherwise a wake-up only says that there is something to look for.
    fn offers(&self) -> bool {
        false
    }

    /// How often work is looked for, where nothing can be heard and looking is all there is.
    fn only_looks(&self) -> Option<Duration> {
        None
    }

    /// Asks for offers of executions with these requirements, beside those that were asked for before.
    fn follow(&mut self, _requirements: &[Requirement]) {}

    /// Says whether an offer could be taken now. Until it is said for the first time, none could.
    fn accept(&mut self, _wanted: bool) {}
}

/// The doorbell that is configured: that of the broker if there is one, and else the one that goes with the store.
///
/// Whoever listens looks by itself, too, as often as the store needs it: so work goes on, slower, without the broker.
///
/// # Errors
/// When the broker's URL or its authorities cannot be used. Whether the broker is there is found out by ringing and listening.
pub fn open(backend: &Backend, configuration: &Config) -> Result<Arc<dyn Doorbell>, DoorbellError> {
    let database = &configuration.database;
    Ok(match (&configuration.message_queue.url, backend) {
        (Some(url), Backend::Sqlite(_)) => {
            Arc::new(AmqpDoorbell::new(url, &configuration.message_queue, database.poll_interval)?)
        }
        (Some(url), Backend::Postgres(_)) => {
            Arc::new(AmqpDoorbell::new(url, &configuration.message_queue, database.sweep_interval)?)
        }
        (None, Backend::Sqlite(_)) => Arc::new(LocalDoorbell::new(database.poll_interval)),
        (None, Backend::Postgres(store)) => {
            Arc::new(PostgresDoorbell::new(store.clone(), database.sweep_interval))
        }
    })
}
