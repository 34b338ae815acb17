//! Workers that a RabbitMQ broker wakes.

use std::{collections::BTreeMap, time::Duration};

use attune_common::model::ExecutionStatus;
use attune_tests::{
    rabbitmq::{self, CONSUMER_TIMEOUT},
    service::Machine,
};
use serde_json::json;

use crate::{LONG, amqp_that_sweeps};

/// What the broker logs of a consumer that holds a delivery for longer than `consumer_timeout`; the test of held offers sees it.
pub(super) const ACKNOWLEDGEMENT_TIMED_OUT: &str = "timed out waiting for";

/// A machine with a broker. Nobody looks by themselves: whatever happens, happens because it was rung.
async fn machine() -> Machine {
    machine_that_sweeps(LONG).await
}

/// A machine with a broker, whose workers look by themselves at this interval.
async fn machine_that_sweeps(interval: Duration) -> Machine {
    let mut machine = Machine::new().await;
    machine.doorbell = amqp_that_sweeps(&rabbitmq::shared().vhost().url(), None, interval).unwrap();
    machine
}

/// Whoever submits may end between the commit and the ring; the requirement is new, too, and nobody has heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_rung_is_found_by_a_look() {
    let machine = machine_that_sweeps(Duration::from_millis(200)).await;
    machine.push(&[("work", "", "echo done\n"), ("other", "labels: {gpu: nvidia}\n", "echo done\n")]).await;
    let mut settings = machine.settings();
    settings.labels = BTreeMap::from([("gpu".to_owned(), "nvidia".to_owned())]);
    let worker = machine.start(settings).await;
    // now the worker listens, and knows one requirement
    let rung = machine.submit("work", json!({})).await;
    machine.ended(rung).await;
    for action in ["test.work", "test.other"] {
        let silent = machine.submit_silently(action, json!({})).await.id;
        assert_eq!(machine.ended(silent).await.status, ExecutionStatus::Succeeded);
    }
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_was_never_rung_is_heard_with_a_heartbeat() {
    let machine = machine().await;
    machine.push(&[("endless", "", "echo started\nsleep 3600\n")]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    machine.store.request_cancel(id).await.unwrap();
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Cancelled);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_may_take_longer_than_the_broker_waits_for_an_acknowledgement() {
    let machine = machine().await;
    let seconds = (CONSUMER_TIMEOUT * 2).as_secs();
    machine
        .push(&[("long", "", &format!("sleep {seconds}\necho done\n")), ("short", "", "echo done\n")])
        .await;
    let mut settings = machine.settings();
    settings.slots = 1;
    let worker = machine.start(settings).await;
    let long = machine.submit("long", json!({})).await;
    machine.wait(long, "its start", |execution| execution.status == ExecutionStatus::Running).await;
    // there is no free slot for these
    let (second, third) =
        (machine.submit("short", json!({})).await, machine.submit("short", json!({})).await);
    for id in [long, second, third] {
        let ended = machine.ended(id).await;
        assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 1), "{ended:?}");
        assert_eq!(machine.log(id, 1).await, "done\n");
    }
    worker.drain().await;
    let written = rabbitmq::shared().log();
    assert!(!written.contains(ACKNOWLEDGEMENT_TIMED_OUT), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_is_heard_though_heartbeats_are_an_hour_apart() {
    let machine = machine().await;
    machine.push(&[("endless", "", "echo started\nsleep 3600\n")]).await;
    let mut settings = machine.settings();
    settings.heartbeat_interval = LONG;
    settings.lease = LONG * 3;
    let worker = machine.start(settings).await;
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    machine.cancel(id).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Cancelled);
    worker.drain().await;
}
