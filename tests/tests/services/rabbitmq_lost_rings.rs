//! Rings that were lost: the API rings again, so that the length of a queue tells an autoscaler the truth.

use std::fs;

use attune_tests::{
    control_plane::ControlPlane,
    dev::wait_for,
    postgres,
    rabbitmq::{self, Vhost},
    seeding::submit,
};

use crate::{backend, postgres_fleet::secured};

/// How many rings wait in the queue of a requirement; `None` when there is no such queue.
fn kept(vhost: &Vhost<'_>, requirement: &str) -> Option<u32> {
    let listed = vhost.broker.control(&["list_queues", "--vhost", &vhost.name, "name", "messages_ready"]);
    let queue = format!("attune.executions.{requirement}\t");
    listed.lines().find_map(|line| line.strip_prefix(&queue)?.parse().ok())
}

/// A pack of two actions that different workers may run.
fn push(plane: &ControlPlane) {
    let pack = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| fs::write(pack.path().join(path), text).unwrap();
    fs::create_dir(pack.path().join("actions")).unwrap();
    write("pack.yaml", "ref: zones\nversion: 1.0.0\n");
    for zone in ["a", "b"] {
        let manifest = format!(
            "ref: zones.{zone}\nrunner_type: shell\nentry_point: work.sh\nlabels: {{zone: {zone}}}\n"
        );
        write(&format!("actions/{zone}.yaml"), &manifest);
    }
    write("actions/work.sh", "echo done\n");
    plane.push(pack.path());
}

/// Whoever submits ends between commit and publishing, and there is no worker that could look.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_silent_is_rung_for_again() {
    let database = postgres::shared().database_with_roles().await;
    let vhost = rabbitmq::shared().vhost();
    let url = vhost.url();
    let plane = tokio::task::block_in_place(|| {
        let environment = [("ATTUNE__MESSAGE_QUEUE__URL", url.as_str()), ("ATTUNE__WORKER__LEASE", "600ms")];
        let plane = ControlPlane::start_on(&secured(&database, "attune_api"), &environment);
        push(&plane);
        plane
    });
    let store = backend(&secured(&database, "attune_api")).await.store();
    for _ in 0..2 {
        submit(&*store, "zones.a").await;
    }
    wait_for("both to be rung for", || kept(&vhost, "shell; zone=a") >= Some(2));

    // the queue goes, with all that was in it
    let _ =
        vhost.broker.control(&["delete_queue", "--vhost", &vhost.name, "attune.executions.shell; zone=a"]);
    wait_for("both to be rung for again", || kept(&vhost, "shell; zone=a") >= Some(2));

    // whoever looks at this one has looked at those before
    submit(&*store, "zones.b").await;
    wait_for("the other one to be rung for", || kept(&vhost, "shell; zone=b") == Some(1));
    // a busy broker may say twice in a row that nothing is in a queue, after which the first of it is rung for once more
    let first = kept(&vhost, "shell; zone=a").unwrap();
    assert!((2..4).contains(&first), "{first} rings join those that are kept:\n{}", plane.log());
}
