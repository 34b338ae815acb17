//! What a worker prepares before it registers.

use std::{process::Command, time::Duration};

use attune_common::model::WorkerKind;
use attune_tests::{binaries, pack::Pack, service::Machine};

use crate::{RECIPE, shell_pack};

#[tokio::test]
async fn a_worker_prepares_all_it_knows_before_it_registers_and_an_agent_does_not() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let agent = machine.start(machine.settings()).await;
    let registered = async |count: usize| {
        while machine.store.workers().await.unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    registered(1).await;
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (0, 0));
    let mut settings = machine.settings();
    "prepared".clone_into(&mut settings.name);
    settings.kind = WorkerKind::Worker;
    let worker = machine.start(settings).await;
    registered(2).await;
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (1, 1));
    agent.drain().await;
    worker.drain().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_while_it_prepares_stops() {
    let machine = Machine::new().await;
    let flag = machine.folder().join("started");
    let recipe =
        format!("install:\n  - [sh, -c, 'touch {}; while :; do sleep 0.02; done']\n", flag.display());
    machine.push_folder(shell_pack(&recipe).path()).await;
    let mut settings = machine.settings();
    settings.kind = WorkerKind::Worker;
    let worker = machine.start(settings).await;
    while !flag.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.drain().await;
    assert!(machine.store.workers().await.unwrap().is_empty());
    assert_eq!(machine.kept("environments"), Vec::<String>::new());
}

#[tokio::test]
async fn attune_worker_tells_its_progress() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let broken = "install:\n  - [sh, -c, 'echo no network; exit 1']\n";
    let other = Pack::default()
        .file("pack.yaml", "ref: broken\nversion: 1.0.0\n")
        .file("lock", "x")
        .file("runtimes/sh.yaml", &format!("name: sh\nlock_files: [lock]\n{broken}"))
        .file("actions/a.yaml", "ref: broken.a\nrunner_type: shell\nentry_point: a.sh\n")
        .file("actions/a.sh", "");
    machine.push_folder(other.path()).await;
    let mut worker = Command::new(binaries::path("attune-worker"))
        .env("ATTUNE__DATABASE__URL", machine.url())
        .env("ATTUNE__WORKER__CACHE_DIR", machine.folder().join("cache"))
        .env("ATTUNE__WORKER__RUNTIMES", "shell=/bin/sh")
        .env("ATTUNE_WORKER_NAME", "w")
        .env_remove("RUST_LOG")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(worker.stderr.take().unwrap())) {
        let line = line.unwrap();
        if line.contains("registered") {
            break;
        }
        told.push(line);
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    insta::with_settings!({filters => vec![
        (machine.folder().to_str().unwrap(), "MACHINE"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\x1b\[[0-9;]*m", ""),
        (r"seconds=\d+", "seconds=N"),
        (r"[^ `]*/sh -c", "SH -c"),
    ]}, {
        insta::assert_snapshot!(told.join("\n"));
    });
}
