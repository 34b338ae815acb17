//! Workers that a RabbitMQ broker wakes.

use std::{collections::BTreeMap, fs, time::Duration};

use attune_common::{
    doorbell::{Ring, Wake},
    model::{ExecutionId, ExecutionStatus},
    requirement::Requirement,
};
use attune_tests::{
    interpreters::{BROKEN, python, shell_and_python},
    rabbitmq::{self, CONSUMER_TIMEOUT},
    service::{Machine, RunningWorker, runtimes},
    waiting,
};
use attune_worker::settings::WorkerSettings;
use serde_json::json;

use crate::{LONG, amqp, amqp_that_sweeps, heard};

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

/// Pushes an action for everybody and one for workers with a label, and starts a worker that has it.
async fn labelled(machine: &Machine) -> RunningWorker {
    machine.push(&[("work", "", "echo done\n"), ("other", "labels: {gpu: nvidia}\n", "echo done\n")]).await;
    let mut settings = machine.settings();
    settings.labels = BTreeMap::from([("gpu".to_owned(), "nvidia".to_owned())]);
    machine.start(settings).await
}

/// Whoever submits may end between the commit and the ring; the requirement is new, too, and nobody has heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_rung_is_found_by_a_look() {
    let machine = machine_that_sweeps(Duration::from_millis(200)).await;
    let worker = labelled(&machine).await;
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
    let mut machine = Machine::new().await;
    let vhost = rabbitmq::shared().vhost();
    machine.doorbell = amqp_that_sweeps(&vhost.url(), None, LONG).unwrap();
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
    // the broker writes the vhost beside the connection; other tests make errors of their own
    let place = format!("vhost: '{}'", vhost.name);
    let errors = written.lines().filter(|line| line.contains("Channel error") && line.contains(&place));
    assert_eq!(errors.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Settings of a worker with one slot, that hears nothing of the store by itself while a test runs.
fn heartbeats_an_hour_apart(machine: &Machine) -> WorkerSettings {
    let mut settings = machine.settings();
    settings.heartbeat_interval = LONG;
    settings.lease = LONG * 3;
    settings.slots = 1;
    settings
}

/// Rings are refused while the broker is short of memory, and nobody rings for what was there before the broker was.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_never_rung_is_worked_off_after_one_look() {
    let machine = machine().await;
    machine.push(&[("work", "", "echo done\n")]).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(machine.submit_silently("test.work", json!({})).await.id);
    }
    let worker = machine.start(heartbeats_an_hour_apart(&machine)).await;
    for id in silent {
        assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
    }
    worker.drain().await;
}

/// Somebody deletes the queue while nobody could be offered anything from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_follows_a_queue_that_is_made_again() {
    let vhost = rabbitmq::shared().vhost();
    let mut machine = Machine::new().await;
    machine.doorbell = amqp(&vhost.url(), None).unwrap();
    let waits = "echo started; while [ ! -e \"$ATTUNE_ACTION_FILE\" ]; do sleep 0.02; done\n";
    let takes_a_file = "parameter_delivery: env\nparameters: {file: {type: string}}\n";
    machine.push(&[("work", "", "echo done\n"), ("waits", takes_a_file, waits)]).await;
    let worker = machine.start(heartbeats_an_hour_apart(&machine)).await;
    let flag = machine.folder().join("flag");
    let busy = machine.submit("waits", json!({"file": flag})).await;
    machine.logged(busy, 1, "started").await;
    let mut listener = machine.doorbell.listen().await.unwrap();
    let _ = vhost.broker.control(&["delete_queue", "--vhost", &vhost.name, "attune.executions.shell"]);
    let next = machine.submit("work", json!({})).await;
    assert_eq!(heard(&mut listener).await, Wake::LookForWork, "so it is made known");
    fs::write(flag, "").unwrap();
    for id in [busy, next] {
        assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
    }
    worker.drain().await;
}

/// Between a cordon and the next heartbeat a worker does not know that it gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_just_cordoned_leaves_what_it_is_offered_to_others() {
    let machine = machine().await;
    machine.push(&[("work", "", "echo done\n")]).await;
    let mut settings = heartbeats_an_hour_apart(&machine);
    "cordoned".clone_into(&mut settings.name);
    let cordoned = machine.start(settings).await;
    let first = machine.submit("work", json!({})).await;
    assert_eq!(machine.ended(first).await.worker_name.unwrap(), "cordoned");
    machine.store.cordon_worker("cordoned", "new disk").await.unwrap();
    let rung = [machine.submit("work", json!({})).await, machine.submit("work", json!({})).await];
    let mut settings = heartbeats_an_hour_apart(&machine);
    "other".clone_into(&mut settings.name);
    let other = machine.start(settings).await;
    let later = machine.submit("work", json!({})).await;
    for id in [rung[0], rung[1], later] {
        assert_eq!(machine.ended(id).await.worker_name.unwrap(), "other");
    }
    cordoned.drain().await;
    other.drain().await;
}

/// The first ring for a requirement reaches the broker, and is lost on its way to a worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_requirement_that_was_never_made_known_is_followed_with_the_next_heartbeat() {
    let machine = machine().await;
    // the queue is there before the worker is, so that nothing is made known later
    let requirement: Requirement = "shell; gpu=nvidia".parse().unwrap();
    let ring = |execution| Ring::Queued { execution, requirement: requirement.clone() };
    machine.doorbell.ring(&ring(ExecutionId::new())).await.unwrap();
    let worker = labelled(&machine).await;
    let known = machine.submit("work", json!({})).await;
    machine.ended(known).await;
    let new = machine.submit_silently("test.other", json!({})).await;
    assert_eq!(new.requirement, requirement);
    machine.doorbell.ring(&ring(new.id)).await.unwrap();
    assert_eq!(machine.ended(new.id).await.status, ExecutionStatus::Succeeded);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_is_heard_though_heartbeats_are_an_hour_apart() {
    let machine = machine().await;
    machine.push(&[("endless", "", "echo started\nsleep 3600\n")]).await;
    let worker = machine.start(heartbeats_an_hour_apart(&machine)).await;
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    machine.cancel(id).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Cancelled);
    worker.drain().await;
}

/// A broker goes on offering what a consumer has asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_turns_out_not_to_run_is_offered_to_others() {
    let machine = machine().await;
    let folder = tempfile::tempdir().unwrap();
    machine
        .push(&[("work", "", "echo done\n"), ("python", "runner_type: python\n", "print('done')\n")])
        .await;
    let mut settings = heartbeats_an_hour_apart(&machine);
    "broken".clone_into(&mut settings.name);
    let broken = shell_and_python(&python(folder.path(), BROKEN)).await;
    let broken = machine.start_with(settings, broken);
    let first = machine.submit("python", json!({})).await;
    let look = async || machine.store.earlier_attempts(first).await.unwrap().pop();
    waiting::found("it to be given back", look).await;
    // it listens anew, for what is left
    let shell = machine.submit("work", json!({})).await;
    assert_eq!(machine.ended(shell).await.worker_name.unwrap(), "broken");
    let second = machine.submit("python", json!({})).await;

    let mut settings = heartbeats_an_hour_apart(&machine);
    "good".clone_into(&mut settings.name);
    let good = machine.start_with(settings, runtimes("python").await);
    for (id, attempt) in [(first, 2), (second, 1)] {
        let ended = machine.ended(id).await;
        assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, attempt), "{ended:?}");
        assert_eq!(ended.worker_name.unwrap(), "good");
    }
    broken.drain().await;
    good.drain().await;
}
