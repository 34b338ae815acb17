//! Tests on real servers, which they start for themselves.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod faults;
mod harness;
mod network;
mod postgres_comeback;
mod postgres_doorbell;
mod postgres_fleet;
mod postgres_indexes;
mod postgres_placement;
mod postgres_pooler;
mod postgres_protocol;
mod postgres_roles;
mod postgres_store;
mod postgres_tls;
mod rabbitmq_doorbell;
mod rabbitmq_faults;
mod rabbitmq_fleet;
mod rabbitmq_lost_rings;
mod rabbitmq_offers;
mod rabbitmq_workers;
mod readiness;

use std::{path::PathBuf, sync::Arc, time::Duration};

use attune_common::{
    config::MessageQueue,
    doorbell::{AmqpDoorbell, Doorbell, DoorbellError, Listener, Ring, Wake},
    model::ExecutionId,
    store::{self, Backend, Client, Store, StoreError},
};

const CLIENT: Client = Client { name: "attune-test", max_connections: 10 };

/// A sweep that does not come while a test runs.
const LONG: Duration = Duration::from_hours(1);

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

/// A doorbell at a broker whose listeners do not look by themselves while a test runs.
fn amqp(url: &str, ca_file: Option<PathBuf>) -> Result<Arc<dyn Doorbell>, DoorbellError> {
    amqp_that_sweeps(url, ca_file, LONG)
}

/// A doorbell at a broker whose listeners look by themselves at this interval.
fn amqp_that_sweeps(
    url: &str,
    ca_file: Option<PathBuf>,
    interval: Duration,
) -> Result<Arc<dyn Doorbell>, DoorbellError> {
    let configuration = MessageQueue { url: None, ca_file };
    Ok(Arc::new(AmqpDoorbell::new(&url.into(), &configuration, interval)?))
}

fn queued(requirement: &str) -> Ring {
    Ring::Queued { execution: ExecutionId::new(), requirement: requirement.parse().unwrap() }
}

fn cancel() -> Ring {
    Ring::CancelRequested { execution: ExecutionId::new() }
}

async fn heard(listener: &mut Box<dyn Listener>) -> Wake {
    woken(listener).await.unwrap()
}

async fn woken(listener: &mut Box<dyn Listener>) -> Result<Wake, DoorbellError> {
    tokio::time::timeout(Duration::from_mins(1), listener.wake()).await.expect("it is heard")
}

/// Listens again, as workers do: until it works.
async fn listen_again(bell: &Arc<dyn Doorbell>) -> Box<dyn Listener> {
    attune_tests::waiting::found("the server to be back", async || bell.listen().await.ok()).await
}
