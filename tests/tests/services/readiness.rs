//! A worker says that it is ready when it hears its broker, and at no other time.

use std::time::{Duration, Instant};

use attune_common::model::ExecutionStatus;
use attune_tests::{
    private_server::PrivateServer,
    proxy::{Mode, Proxy},
    rabbitmq::{self, Broker},
    service::{Machine, RunningWorker},
};
use serde_json::json;

use crate::amqp;

/// A machine whose only other way to work is to look for it, once an hour.
async fn machine(url: &str) -> (Machine, RunningWorker) {
    let mut machine = Machine::new().await;
    machine.doorbell = amqp(url, None).unwrap();
    machine.push(&[("work", "", "echo done\n")]).await;
    let worker = machine.start(machine.settings()).await;
    (machine, worker)
}

/// Waits until the worker is ready, or not for lack of its doorbell.
async fn until(worker: &RunningWorker, ready: bool) {
    let wait = async {
        loop {
            match worker.health.ready(Instant::now()) {
                Ok(()) if ready => return,
                Err(reason) if !ready && reason.contains("doorbell") => return,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it becomes so within a minute");
}

async fn works(machine: &Machine) {
    // a queue that a restart makes anew takes its time; a ring that is lost meanwhile would wait for the next look
    let id = machine.submit("work", json!({})).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_broker_is_gone_is_not_ready_until_it_hears_it_again() {
    let mut broker = Broker::start();
    let url = broker.vhost().url();
    let (machine, worker) = machine(&url).await;
    until(&worker, true).await;
    works(&machine).await;
    tokio::task::block_in_place(|| broker.stop());
    until(&worker, false).await;
    tokio::task::block_in_place(|| broker.start_again());
    until(&worker, true).await;
    works(&machine).await;
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_gone_silent_is_noticed_by_heartbeats() {
    let vhost = rabbitmq::shared().vhost();
    let server = vhost.broker.address();
    let network = Proxy::start(server.clone()).await;
    let url = format!("{}?heartbeat=1", vhost.url().replace(&server, &network.address()));
    let (machine, worker) = machine(&url).await;
    until(&worker, true).await;
    works(&machine).await;
    // the connection stays open, and nothing passes
    network.set(Mode::Swallow);
    until(&worker, false).await;
    network.set(Mode::Pass);
    until(&worker, true).await;
    works(&machine).await;
    worker.drain().await;
}
