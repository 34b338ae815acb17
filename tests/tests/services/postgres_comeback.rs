//! Workers that come back from the dead: stopped by SIGSTOP, or cut off, until everybody believes them lost.

use std::{fs, path::Path};

use attune_tests::{
    dev::wait_for,
    postgres::{self, Database},
    proxy::{Mode, Proxy},
};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};

use crate::postgres_fleet::{Agent, Fleet, secured};

/// Every worker of a name that is listed.
fn workers(fleet: &Fleet, name: &str) -> Vec<Value> {
    let list = fleet.plane.attune(&["workers"]);
    let all = list["workers"].as_array().unwrap().iter();
    all.filter(|worker| worker["name"] == json!(name)).cloned().collect()
}

/// The process of the first attempt.
fn first_attempt(marker: &Path) -> Pid {
    let written = fs::read_to_string(marker.with_extension("pid-1")).unwrap();
    Pid::from_raw(written.trim().parse().unwrap()).unwrap()
}

fn stop_until_lost(fleet: &Fleet, agent: &Agent) {
    agent.signal(Signal::STOP);
    wait_for("the stopped worker to be lost", || workers(fleet, &agent.name)[0]["status"] == "lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_back_ends_what_it_ran_and_registers_again() {
    let database = postgres::shared().database_with_roles().await;
    tokio::task::block_in_place(|| come_back(&Fleet::start(&database)));
}

fn come_back(fleet: &Fleet) {
    fleet.push();
    let marker = fleet.folder.path().join("twice");
    let (id, first) = fleet.running("fleet.twice", &marker);
    let (stopped, other) = (&fleet.agents[first], &fleet.agents[1 - first]);
    let process = first_attempt(&marker);
    let before = workers(fleet, &stopped.name);

    stop_until_lost(fleet, stopped);
    wait_for("the other worker to start it again", || fs::read_to_string(&marker).unwrap().contains("2\n"));
    let running = fleet.show(&id);
    assert_eq!((&running["worker"], &running["attempt"]), (&json!(other.name), &json!(2)), "{running:#}");
    assert!(test_kill_process(process).is_ok(), "nobody is there to end the first attempt");

    stopped.signal(Signal::CONT);
    wait_for("the first attempt to be ended", || test_kill_process(process).is_err());
    wait_for("the worker to register again", || {
        let now = &workers(fleet, &stopped.name)[0];
        now["status"] == "online" && now["registered_at"] != before[0]["registered_at"]
    });
    assert_eq!(workers(fleet, &stopped.name)[0]["id"], before[0]["id"]);
    assert!(stopped.log().contains("registered again"));

    only_the_second_attempt_ends(fleet, &id, &marker, other);
}

/// Lets an attempt that runs end: one that were still there beside it would say that it ended, too.
fn only_the_second_attempt_ends(fleet: &Fleet, id: &str, marker: &Path, of: &Agent) {
    fs::write(marker.with_extension("end"), "").unwrap();
    wait_for("its end", || fleet.show(id)["status"] != "running");
    let ended = fleet.show(id);
    assert_eq!(
        (&ended["status"], &ended["attempt"], &ended["worker"]),
        (&json!("succeeded"), &json!(2), &json!(of.name))
    );
    assert_eq!(fs::read_to_string(marker).unwrap(), "1\n2\n", "one start an attempt");
    assert_eq!(
        fs::read_to_string(marker.with_extension("ended")).unwrap(),
        "2\n",
        "and only the second one ended"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_ends_what_it_ran_before_it_is_back() {
    let database = postgres::shared().database_with_roles().await;
    let (direct, server) = (secured(&database, "attune_agent"), postgres::shared().address());
    let networks = [Proxy::start(server.clone()).await, Proxy::start(server.clone()).await];
    let urls = networks.each_ref().map(|network| direct.replace(&server, &network.address()));
    tokio::task::block_in_place(|| {
        cut_off(&Fleet::start_with(&database, urls.each_ref().map(String::as_str), &[]), &networks);
    });
}

fn cut_off(fleet: &Fleet, networks: &[Proxy; 2]) {
    fleet.push();
    let marker = fleet.folder.path().join("twice");
    let (id, first) = fleet.running("fleet.twice", &marker);
    let (lonely, other) = (&fleet.agents[first], &fleet.agents[1 - first]);
    let process = first_attempt(&marker);

    // nothing is refused and nothing is closed: its connections are half open
    networks[first].set(Mode::Swallow);
    wait_for("the first attempt to be ended", || test_kill_process(process).is_err());
    wait_for("the other worker to start it again", || fs::read_to_string(&marker).unwrap().contains("2\n"));
    wait_for("the worker to be lost", || workers(fleet, &lonely.name)[0]["status"] == "lost");

    networks[first].set(Mode::Pass);
    wait_for("the worker to be back", || workers(fleet, &lonely.name)[0]["status"] == "online");
    wait_for("it to register again", || lonely.log().contains("registered again"));
    only_the_second_attempt_ends(fleet, &id, &marker, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_name_was_taken_meanwhile_is_told_apart() {
    let database = postgres::shared().database_with_roles().await;
    tokio::task::block_in_place(|| share_a_name(&database, &Fleet::start(&database)));
}

fn share_a_name(database: &Database<'_>, fleet: &Fleet) {
    let stopped = &fleet.agents[0];
    let before = workers(fleet, &stopped.name);
    stop_until_lost(fleet, stopped);
    let folder = fleet.folder.path().join("successor");
    fs::create_dir(&folder).unwrap();
    let _successor = Agent::start(&stopped.name, &folder, &secured(database, "attune_agent"), &[]);
    wait_for(
        "the lost one to be forgotten",
        || matches!(&workers(fleet, &stopped.name)[..], [only] if only["id"] != before[0]["id"]),
    );
    stopped.signal(Signal::CONT);
    wait_for("both to be there", || {
        let both = workers(fleet, &stopped.name);
        both.len() == 2 && both.iter().all(|worker| worker["status"] == "online")
    });
    assert!(workers(fleet, &stopped.name).iter().any(|worker| worker["id"] == before[0]["id"]));
}
