//! What a claim costs when a million executions wait, against an empty queue, on PostgreSQL. Prints a table and one line of JSON.

#![expect(clippy::print_stdout, reason = "a report")]

use std::time::{Duration, Instant};

use attune_common::{
    model::WorkerId,
    requirement::Requirement,
    store::{self, Client, Store},
};
use attune_tests::{
    latencies::percentile,
    million::{self, Fill},
    postgres::{self, execute},
    seeding::{new_worker, push_action, submit},
};
use serde_json::json;

const RUNS: usize = 1000;
const LEASE: Duration = Duration::from_mins(10);

struct Bench {
    store: std::sync::Arc<dyn Store>,
    worker: WorkerId,
}

impl Bench {
    async fn submit(&self) {
        submit(&*self.store, "mine.work").await;
    }

    /// Times of claims with these requirements. `before` prepares each of them.
    async fn claims(&self, of: &[Requirement], found: bool, before: impl AsyncFn()) -> Vec<Duration> {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            before().await;
            let start = Instant::now();
            let claimed = self.store.claim_next(self.worker, of, LEASE).await.expect("it answers");
            times.push(start.elapsed());
            assert_eq!(claimed.is_some(), found);
        }
        times.sort();
        times
    }
}

fn requirements() -> Vec<Requirement> {
    (1..=50).map(|number| format!("shell; number={number}").parse().expect("a requirement")).collect()
}

#[tokio::main]
async fn main() {
    let database = postgres::shared().database().await;
    let client = Client { name: "attune-bench", max_connections: 3 };
    let store = store::open(&database.url("owner").into(), &client).await.expect("a store").store();
    let bench = Bench { store, worker: WorkerId::new() };
    push_action(&*bench.store, "mine.work", 3).await;
    let worker = new_worker(bench.worker, "worker", Duration::from_mins(10));
    bench.store.register_worker(worker).await.expect("it is registered");
    let (fifty, mut fifty_and_shell) = (requirements(), requirements());
    fifty_and_shell.push("shell".parse().expect("a requirement"));
    let nothing = async || {};

    let empty = bench.claims(&fifty_and_shell, false, nothing).await;
    let one = bench.claims(&fifty_and_shell, true, || bench.submit()).await;
    bench.submit().await;
    let mut superuser = database.superuser().await;
    million::fill(&mut superuser, Fill::Waiting).await;
    execute(&mut superuser, "ANALYZE attune.executions").await;
    let million = bench.claims(&fifty, true, nothing).await;

    println!("claim_next over 50 requirements, {RUNS} runs each, milliseconds");
    println!("{:28}{:>8}{:>8}{:>8}", "", "p50", "p95", "p99");
    let rows = [
        ("empty queue, nothing found", &empty),
        ("one waits, claimed", &one),
        ("a million wait, claimed", &million),
    ];
    for (name, times) in rows {
        let [p50, p95, p99] = [50, 95, 99].map(|percent| percentile(times, percent));
        println!("{name:28}{p50:8.2}{p95:8.2}{p99:8.2}");
    }
    let ratios = |base: &[Duration]| [50, 95, 99].map(|of| percentile(&million, of) / percentile(base, of));
    let (to_one, to_empty) = (ratios(&one), ratios(&empty));
    for (name, [p50, p95, p99]) in
        [("ratio, a million to one", to_one), ("ratio, a million to none", to_empty)]
    {
        println!("{name:28}{p50:8.2}{p95:8.2}{p99:8.2}");
    }
    let named = |[p50, p95, p99]: [f64; 3]| json!({"p50": p50, "p95": p95, "p99": p99});
    let figures = |times: &[Duration]| named([50, 95, 99].map(|of| percentile(times, of)));
    println!(
        "{}",
        json!({
            "benchmark": "claim_latency", "store": "postgres", "runs": RUNS, "requirements": 50, "unit": "ms",
            "empty": figures(&empty), "one": figures(&one), "million": figures(&million),
            "ratio": named(to_one), "ratio_to_empty": named(to_empty),
        })
    );
}
