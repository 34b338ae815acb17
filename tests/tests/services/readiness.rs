//! A worker says that it is ready when it hears its broker, and at no other time.

use std::{net::TcpListener, time::Instant};

use attune_common::{doorbell::Ring, model::ExecutionStatus};
use attune_tests::{
    agent::Agent,
    dev::wait_for,
    postgres::Server,
    private_server::PrivateServer,
    proxy::{Mode, Proxy},
    rabbitmq::{self, Broker, USER},
    service::{Machine, RunningWorker},
    waiting,
};
use serde_json::json;

use crate::{LONG, amqp, postgres_doorbell::bell};

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
    let holds = || match worker.health.ready(Instant::now()) {
        Ok(()) => ready,
        Err(reason) => !ready && reason.contains("doorbell"),
    };
    waiting::until(if ready { "it to be ready" } else { "it to miss its doorbell" }, holds).await;
}

async fn works(machine: &Machine) {
    // a queue that a restart makes anew takes its time; a ring that is lost meanwhile would wait for the next look
    let id = machine.submit("work", json!({})).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
}

/// A worker that works is not ready while the server of its doorbell is gone, and ready again when that is back.
async fn follows<S: PrivateServer>(
    server: &mut S,
    end: fn(&mut S),
    machine: &Machine,
    worker: &RunningWorker,
) {
    until(worker, true).await;
    works(machine).await;
    tokio::task::block_in_place(|| end(server));
    until(worker, false).await;
    tokio::task::block_in_place(|| server.start_again());
    until(worker, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_broker_is_gone_is_not_ready_until_it_hears_it_again() {
    let mut broker = Broker::start();
    let url = broker.vhost().url();
    let (machine, worker) = machine(&url).await;
    follows(&mut broker, Broker::stop, &machine, &worker).await;
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
    tries_ever_less_often(&agent(&machine, &url));
}

/// A broker that takes the connection and refuses the queues is as good as none.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_consume_is_not_ready_and_asks_with_growing_pauses() {
    let vhost = rabbitmq::shared().vhost();
    let may_read = |pattern: &str| {
        let _ = vhost.broker.control(&["set_permissions", "--vhost", &vhost.name, USER, ".*", ".*", pattern]);
    };
    let mut machine = Machine::new().await;
    machine.doorbell = amqp(&vhost.url(), None).unwrap();
    machine.push(&[("work", "", "echo done\n")]).await;
    // exchanges and the queues that the broker names
    may_read(r"^(attune\.control|attune\.executions|amq\..*)$");
    let waiting = machine.submit("work", json!({})).await;
    let agent = agent(&machine, &vhost.url());
    // it looks with every try
    assert_eq!(machine.ended(waiting).await.status, ExecutionStatus::Succeeded);
    tries_ever_less_often(&agent);
    may_read(".*");
    agent.wait_until("/readyz", "ready");
    works(&machine).await;
}

/// An agent with the broker of a URL.
fn agent(machine: &Machine, url: &str) -> Agent {
    let heartbeat = ("ATTUNE__WORKER__HEARTBEAT_INTERVAL", "500ms");
    Agent::start(machine, &[], &[("ATTUNE__MESSAGE_QUEUE__URL", url), heartbeat])
}

/// An agent that does not hear its broker waits longer and longer, as its log tells, and is not ready.
fn tries_ever_less_often(agent: &Agent) {
    let pauses = || {
        let log = agent.log();
        let lines = log.lines().filter(|line| line.contains("the doorbell is not heard, trying again"));
        let pauses = lines.filter_map(|line| line.split_once("pause=")?.1.split_whitespace().next());
        pauses.map(str::to_owned).collect::<Vec<_>>()
    };
    wait_for("five tries", || pauses().len() >= 5);
    // no longer than a heartbeat takes
    assert_eq!(pauses()[..5], ["100ms", "200ms", "400ms", "500ms", "500ms"]);
    assert_eq!(agent.get("/readyz").status(), 503);
}

/// PostgreSQL alone: its own doorbell is what a worker needs to be ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_database_is_gone_is_not_ready_until_it_is_back() {
    let mut server = Server::start();
    let bell = bell(&server.database().await, LONG).await;
    let mut machine = Machine::new().await;
    machine.doorbell = bell.clone();
    machine.push(&[("work", "", "echo done\n")]).await;
    let worker = machine.start(machine.settings()).await;
    follows(&mut server, Server::kill, &machine, &worker).await;
    let queued = machine.submit_silently("test.work", json!({})).await;
    let ring = Ring::Queued { execution: queued.id, requirement: queued.requirement };
    // connections that the crash broke fail once each
    while bell.ring(&ring).await.is_err() {}
    assert_eq!(machine.ended(queued.id).await.status, ExecutionStatus::Succeeded);
    worker.drain().await;
}
