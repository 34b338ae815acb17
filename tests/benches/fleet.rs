//! A fleet on PostgreSQL and RabbitMQ against a bare spawn, and against Celery on the same servers in the same run: how long an
//! execution takes to start, how many there are a second, and what agents cost that have nothing to do.
//!
//! `ATTUNE_BENCH_IDLE_AGENTS` changes their number (300). Prints tables and lines of JSON.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a report")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use attune_common::{
    config::MessageQueue,
    doorbell::{AmqpDoorbell, Doorbell},
    store::{self, Client, Store},
};
use attune_tests::{
    agent::shell_agent,
    binaries,
    latencies::{BareScript, Comparison},
    postgres::{Database, Server, execute},
    private_server::PrivateServer,
    processes::{Killed, below, parents},
    rabbitmq::{Broker, Vhost},
    service::Machine,
};
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};

const RUNS: usize = 200;
const BATCH: usize = 400;
const SLOTS: [usize; 4] = [1, 2, 4, 8];
const NOTHING: &str = "exit 0";
const NOW: &str = "date +%s%N";

/// How long idleness is watched.
const WATCHED: Duration = Duration::from_secs(30);

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

fn bare(script: &BareScript) -> String {
    let output = script.command().output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn since(start: u128, printed: &str) -> Duration {
    Duration::from_nanos((printed.trim().parse::<u128>().unwrap() - start) as u64)
}

fn agent(folder: &Path, database: &Database<'_>, broker: &Vhost<'_>, name: &str, slots: usize) -> Killed {
    let log = fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let child = shell_agent(&folder.join("cache"), log)
        .env("ATTUNE_WORKER_NAME", name)
        .env("ATTUNE__DATABASE__URL", database.url("attune_agent"))
        .env("ATTUNE__MESSAGE_QUEUE__URL", broker.url())
        .env("ATTUNE__WORKER__SLOTS", slots.to_string())
        .spawn()
        .unwrap();
    Killed(child)
}

fn celery(database: &Database<'_>, broker: &Vhost<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::workspace().join("tests/celery-peer"));
    let results = database.url("owner").replace("postgres://", "db+postgresql+psycopg2://");
    command
        .args(arguments)
        .env("CELERY_BROKER", broker.url())
        .env("CELERY_RESULTS", results)
        .stdin(Stdio::null());
    command
}

/// What Celery measures with this many slots.
fn through_celery(
    database: &Database<'_>,
    broker: &Vhost<'_>,
    scripts: &[BareScript; 2],
    slots: usize,
    runs: usize,
) -> Value {
    let [nothing, when] = scripts.each_ref().map(|script| script.path().to_str().unwrap());
    let mut worker =
        celery(database, broker, &["worker", &slots.to_string()]).stdout(Stdio::null()).spawn().unwrap();
    let measured = celery(database, broker, &["measure", &runs.to_string(), nothing, when]).output().unwrap();
    let pid = rustix::process::Pid::from_raw(worker.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    worker.wait().unwrap();
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    serde_json::from_slice(&measured.stdout).unwrap()
}

async fn latency(machine: &Machine, when: &BareScript, celery: &Value) {
    let (mut bares, mut attunes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = now();
        bares.push(since(start, &bare(when)));
        let start = now();
        let id = machine.submit("now", json!({})).await;
        machine.ended(id).await;
        attunes.push(since(start, &machine.log(id, 1).await));
    }
    let times = celery["latencies"].as_array().unwrap();
    let peer = times.iter().map(|time| Duration::from_nanos(time.as_u64().unwrap())).collect();
    for (benchmark, name, baseline) in
        [("fleet_submit_to_start", "bare spawn", bares), ("fleet_submit_to_start_celery", "Celery", peer)]
    {
        let comparison = Comparison {
            benchmark,
            title: "submit to start, PostgreSQL and RabbitMQ",
            baseline: (name, baseline),
            measured: ("attune", attunes.clone()),
        };
        println!("{}\n", comparison.report());
    }
}

/// Processor time that a process has used.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(')') else { return Duration::ZERO };
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    // USER_HZ is 100 on every architecture that we know (proc_pid_stat(5))
    Duration::from_millis(ticks * 10)
}

/// What this process has started beside the agents: the database and the broker, with all that they have started.
fn processes_of_services(agents: &[u32]) -> Vec<u32> {
    let parents = parents();
    let below = |id: u32| below(id.cast_signed(), &parents);
    let of_agents: BTreeSet<i32> =
        agents.iter().flat_map(|id| below(*id).into_iter().chain([id.cast_signed()])).collect();
    let all = below(std::process::id()).into_iter();
    all.filter(|id| !of_agents.contains(id)).map(i32::cast_unsigned).collect()
}

/// Transactions of a database so far; every statement of an agent is one.
async fn committed(superuser: &mut PgConnection, database: &str) -> i64 {
    let query = sqlx::query("SELECT xact_commit FROM pg_stat_database WHERE datname = $1").bind(database);
    query.fetch_one(superuser).await.unwrap().get(0)
}

/// What agents cost that have nothing to do, all together.
struct Idleness {
    agents: usize,
    statements_per_second: f64,
    connections: i64,
    /// Of one processor: the agents, and PostgreSQL and RabbitMQ for them.
    processors: [f64; 2],
}

async fn watch(server: &Server, database: &Database<'_>, agents: &[Killed]) -> Idleness {
    // what their start has left to do
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut superuser = server.superuser("postgres").await;
    let of_agents: Vec<u32> = agents.iter().map(|agent| agent.0.id()).collect();
    let of_services = processes_of_services(&of_agents);
    let used = |processes: &[u32]| processes.iter().map(|id| processor_time(*id)).sum::<Duration>();
    let transactions = committed(&mut superuser, &database.name).await;
    let (start, before) = (Instant::now(), [used(&of_agents), used(&of_services)]);
    tokio::time::sleep(WATCHED).await;
    let statements = committed(&mut superuser, &database.name).await - transactions;
    let seconds = start.elapsed().as_secs_f64();
    let share = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / seconds;
    let processors = [share(used(&of_agents), before[0]), share(used(&of_services), before[1])];
    let connections = sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE usename = 'attune_agent'")
        .fetch_one(&mut superuser)
        .await
        .unwrap()
        .get(0);
    Idleness {
        agents: agents.len(),
        statements_per_second: statements as f64 / seconds,
        connections,
        processors,
    }
}

/// One agent, and then many: what each of many costs, in relation to one alone.
async fn idle(
    server: &Server,
    database: &Database<'_>,
    broker: &Vhost<'_>,
    folder: &Path,
    store: &dyn Store,
) {
    let count = std::env::var("ATTUNE_BENCH_IDLE_AGENTS").map_or(300, |text| text.parse().unwrap());
    // the agents that were measured are killed, and listed until they are known to be lost
    let before = store.workers().await.unwrap().len();
    let mut agents: Vec<Killed> = Vec::new();
    let mut measured: Vec<Idleness> = Vec::new();
    for number in [1, count] {
        agents.extend(
            (agents.len()..number).map(|index| agent(folder, database, broker, &format!("idle-{index}"), 1)),
        );
        let registered = async {
            while store.workers().await.unwrap().len() < before + number {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(5), registered).await.expect("all agents register");
        measured.push(watch(server, database, &agents).await);
    }
    println!(
        "agents that have nothing to do\n{:>8}{:>15}{:>11}{:>8}{:>14}{:>12}{:>15}",
        "agents", "statements/s", "per agent", "ratio", "connections", "their CPU", "services' CPU"
    );
    let mut lines = Vec::new();
    let per_agent = |one: &Idleness| one.statements_per_second / one.agents as f64;
    for one in &measured {
        let ratio = per_agent(one) / per_agent(&measured[0]);
        let (agents, statements, connections) = (one.agents, one.statements_per_second, one.connections);
        let [of_agents, of_services] = one.processors;
        println!(
            "{agents:>8}{statements:>15.1}{:>11.2}{ratio:>8.2}{connections:>14}{of_agents:>12.2}{of_services:>15.2}",
            per_agent(one)
        );
        lines.push(json!({
            "benchmark": "idle_agents", "agents": agents, "statements_per_second": statements, "ratio_per_agent": ratio,
            "connections": connections, "processors_of_agents": of_agents, "processors_of_services": of_services,
        }));
    }
    for line in lines {
        println!("{line}");
    }
}

#[tokio::main]
async fn main() {
    let mut server = Server::start();
    execute(&mut server.superuser("postgres").await, "ALTER SYSTEM SET max_connections = 1200").await;
    server.stop();
    server.start_again();
    let broker = Broker::start();
    let (database, vhost, peer_vhost) = (server.database_with_roles().await, broker.vhost(), broker.vhost());
    let client = Client { name: "bench", max_connections: 4 };
    let backend = store::open(&database.url("attune_api").into(), &client).await.unwrap();
    let mut machine = Machine::new().await;
    machine.store = backend.store();
    let queue = MessageQueue { url: None, ca_file: None };
    let doorbell: Arc<dyn Doorbell> =
        Arc::new(AmqpDoorbell::new(&vhost.url().into(), &queue, Duration::from_secs(30)).unwrap());
    machine.doorbell = doorbell;
    machine.push(&[("nothing", "", NOTHING), ("now", "", NOW)]).await;
    let folder = tempfile::tempdir().unwrap();

    let scripts = [NOTHING, NOW].map(BareScript::new);
    let start = Instant::now();
    for _ in 0..BATCH {
        bare(&scripts[0]);
    }
    let spawn_loop = BATCH as f64 / start.elapsed().as_secs_f64();
    let mut table = vec![format!(
        "{:>6}{:>10}{:>10}{:>12}{:>12}{:>12}",
        "slots", "attune", "Celery", "spawn loop", "to Celery", "to the loop"
    )];
    let mut lines = Vec::new();
    for slots in SLOTS {
        let peer = through_celery(&database, &peer_vhost, &scripts, slots, BATCH);
        let agent = agent(folder.path(), &database, &vhost, &format!("slots-{slots}"), slots);
        let first = machine.submit("now", json!({})).await;
        machine.ended(first).await;
        if slots == 1 {
            latency(&machine, &scripts[1], &peer).await;
        }
        let rate = BATCH as f64 / machine.run_all("nothing", BATCH).await.as_secs_f64();
        drop(agent);
        let celery = peer["rate"].as_f64().unwrap();
        let (to_celery, to_loop) = (rate / celery, rate / spawn_loop);
        table.push(format!(
            "{slots:>6}{rate:>10.0}{celery:>10.0}{spawn_loop:>12.0}{to_celery:>12.2}{to_loop:>12.2}"
        ));
        lines.push(json!({"benchmark": "fleet_throughput", "slots": slots, "unit": "1/s", "attune": rate, "celery": celery, "spawn_loop": spawn_loop, "ratio_to_celery": to_celery, "ratio_to_spawn_loop": to_loop}));
    }
    println!("{BATCH} executions that do nothing, a second\n{}", table.join("\n"));
    for line in lines {
        println!("{line}");
    }
    idle(&server, &database, &vhost, folder.path(), &*machine.store).await;
}
