//! What running a process through Attune costs, and what its output costs. Every baseline is of the same run.
//!
//! Prints a table and one line of JSON for each measurement.

#![expect(clippy::print_stdout, reason = "a report")]

use std::{
    fs::File,
    io::{self, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use attune_tests::{
    agent::shell_agent,
    latencies::{BareScript, Comparison},
    processes::{Killed, memory},
    service::Machine,
};
use serde_json::json;

const RUNS: usize = 200;
const BATCH: usize = 400;
const SCRIPT: &str = "exit 0";

/// A single line of ten gigabytes.
const OUTPUT_BYTES: u64 = 10_000_000_000;

/// Time between two looks for an end.
const LOOK: Duration = Duration::from_micros(200);

fn bare(script: &BareScript) -> Duration {
    let start = Instant::now();
    let status = script.command().status().expect("there is a shell");
    assert!(status.success());
    start.elapsed()
}

async fn through_attune(machine: &Machine) -> Duration {
    let start = Instant::now();
    let id = machine.submit("nothing", json!({})).await;
    // looked at far more often than tests look, whose pauses would be a large part of what is measured
    while !machine.store.execution(id).await.expect("it answers").expect("it exists").status.is_final() {
        std::thread::sleep(LOOK);
    }
    start.elapsed()
}

/// From the submission to the recorded end, against spawning and waiting.
async fn one_by_one(machine: &Machine) {
    through_attune(machine).await;
    let script = BareScript::new(SCRIPT);
    let (mut bares, mut attunes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        bares.push(bare(&script));
        attunes.push(through_attune(machine).await);
    }
    let comparison = Comparison {
        benchmark: "one_execution",
        title: "one execution, submitted to ended",
        baseline: ("bare spawn", bares),
        measured: ("attune, SQLite", attunes),
    };
    println!("{}", comparison.report());
}

/// Many queued executions, against a loop that spawns.
async fn throughput(machine: &Machine) {
    let script = BareScript::new(SCRIPT);
    let start = Instant::now();
    for _ in 0..BATCH {
        bare(&script);
    }
    let loop_rate = BATCH as f64 / start.elapsed().as_secs_f64();
    let rate = BATCH as f64 / machine.run_all("nothing", BATCH).await.as_secs_f64();
    println!(
        "\n{BATCH} executions: {rate:.0} per second, a spawn loop {loop_rate:.0}: {:.2}",
        rate / loop_rate
    );
    println!(
        "{}",
        json!({"benchmark": "throughput", "unit": "1/s", "spawn_loop": loop_rate, "attune": rate, "ratio": rate / loop_rate})
    );
}

/// Reads the same output as fast as a program can that does nothing with it.
fn bare_output() -> Duration {
    let start = Instant::now();
    let mut child = Command::new("head")
        .args(["-c", &OUTPUT_BYTES.to_string(), "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is head");
    let mut buffer = vec![0; 64 * 1024];
    let mut pipe = child.stdout.take().expect("it is piped");
    while pipe.read(&mut buffer).is_ok_and(|length| length > 0) {}
    child.wait().expect("it ends");
    start.elapsed()
}

/// A line of ten gigabytes through the real agent: its speed, and the agent's memory.
async fn output(machine: &Machine) -> io::Result<()> {
    let bare = bare_output();
    let folder = tempfile::tempdir()?;
    let log = File::create(folder.path().join("log"))?;
    let agent = Killed(
        shell_agent(&folder.path().join("cache"), log).env("ATTUNE__DATABASE__URL", machine.url()).spawn()?,
    );
    let first = machine.submit("nothing", json!({})).await;
    machine.ended(first).await;
    let (pid, mb) = (agent.0.id(), 1e6);
    let idle = memory(pid, "VmRSS");
    let start = Instant::now();
    let id = machine.submit("loud", json!({})).await;
    let ended = machine.ended(id).await;
    let through = start.elapsed();
    let outcome = ended.outcome.expect("it has ended");
    assert_eq!(outcome.exit_code, Some(0), "{outcome:?}");
    assert!(outcome.log_bytes_dropped > OUTPUT_BYTES / 2, "the log has a limit");
    let (peak, rate) = (memory(pid, "VmHWM"), |time: Duration| OUTPUT_BYTES as f64 / mb / time.as_secs_f64());
    println!(
        "\none line of {OUTPUT_BYTES} bytes: {:.0} MB/s, without Attune {:.0} MB/s",
        rate(through),
        rate(bare)
    );
    println!("memory of the agent: idle {:.1} MB, at most {:.1} MB", idle as f64 / mb, peak as f64 / mb);
    println!(
        "{}",
        json!({
            "benchmark": "output", "bytes": OUTPUT_BYTES, "unit": "MB/s", "bare": rate(bare), "attune": rate(through),
            "ratio": rate(through) / rate(bare), "idle_bytes": idle, "peak_bytes": peak,
            "memory_ratio": peak as f64 / idle as f64,
        })
    );
    Ok(())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let machine = Machine::new().await;
    machine
        .push(&[
            ("nothing", "", SCRIPT),
            ("loud", "timeout: 3600\n", &format!("exec head -c {OUTPUT_BYTES} /dev/zero")),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    one_by_one(&machine).await;
    throughput(&machine).await;
    worker.drain().await;
    output(&machine).await
}
