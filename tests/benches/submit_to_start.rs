//! How long an execution takes from its submission to the first instruction of its process, on the SQLite store.
//!
//! The baseline, in the same run: starting the same command without Attune. Prints a table and one line of JSON.

#![expect(clippy::print_stdout, reason = "a report")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attune_tests::{
    latencies::{BareScript, Comparison},
    service::Machine,
};
use serde_json::json;

const RUNS: usize = 200;
const SCRIPT: &str = "date +%s%N";

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_nanos()
}

fn since(start: u128, printed: &str) -> Duration {
    let started: u128 = printed.trim().parse().expect("the script prints nanoseconds");
    Duration::from_nanos(started.saturating_sub(start) as u64)
}

fn bare(script: &BareScript) -> Duration {
    let start = now();
    let output = script.command().output().expect("there is a shell");
    since(start, &String::from_utf8_lossy(&output.stdout))
}

async fn through_attune(machine: &Machine) -> Duration {
    let start = now();
    let id = machine.submit("now", json!({})).await;
    machine.ended(id).await;
    since(start, &machine.log(id, 1).await)
}

#[tokio::main]
async fn main() {
    let machine = Machine::new().await;
    machine.push(&[("now", "", SCRIPT)]).await;
    let worker = machine.start(machine.settings()).await;
    // the first one unpacks the pack
    through_attune(&machine).await;
    let script = BareScript::new(SCRIPT);
    let (mut bares, mut attunes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        bares.push(bare(&script));
        attunes.push(through_attune(&machine).await);
    }
    worker.drain().await;
    let comparison = Comparison {
        benchmark: "submit_to_start",
        title: "submit to start",
        baseline: ("bare spawn", bares),
        measured: ("attune, SQLite", attunes),
    };
    println!("{}", comparison.report());
}
