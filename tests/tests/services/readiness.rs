//! A worker says that it is ready when it hears its broker, and at no other time.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use attune_common::model::ExecutionStatus;
use attune_tests::{
    agent::Agent,
    dev::wait_for,
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

/// So that not every worker of a fleet asks all the time for a broker that is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_asked_for_with_growing_pauses() {
    let machine = Machine::new().await;
    // nobody listens there any more
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("amqp://guest:guest@{address}");
    let agent = Agent::start(
        &machine,
        &[],
        &[("ATTUNE__MESSAGE_QUEUE__URL", &url), ("ATTUNE__WORKER__HEARTBEAT_INTERVAL", "500ms")],
    );
    let pauses = || {
        let log = agent.log();
        let lines = log.lines().filter(|line| line.contains("the doorbell is not heard, trying again"));
        let pauses = lines.filter_map(|line| line.split_once("pause=")?.1.split_whitespace().next());
        pauses.map(str::to_owned).collect::<Vec<_>>()
    };
    wait_for("five tries", || pauses().len() >= 5);
    // no longer than a heartbeat takes
    assert_eq!(pauses()[..5], ["100ms", "200ms", "400ms", "500ms", "500ms"]);
    let readiness = agent.get("/readyz");
    assert_eq!(readiness.status(), 503, "{}", readiness.body);
}
