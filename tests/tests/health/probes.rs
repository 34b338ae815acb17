//! What the probes answer, and `attune-agent healthcheck`.

use std::{io::Write, net::TcpListener};

use attune_tests::{
    agent::{Agent, healthcheck},
    dev::{shown, wait_for},
};
use rustix::process::Signal;
use serde_json::json;
use sqlx::Connection;

use crate::{machine, told};

#[tokio::test]
async fn a_worker_is_ready_when_it_is_registered_and_hears_and_lives_before() {
    let machine = machine().await;
    let locked = machine.lock_store().await;
    let agent = Agent::start(&machine, &[], &[]);
    let before = agent.get("/readyz");
    assert_eq!(before.status(), 503);
    assert_eq!(
        before.body,
        "not ready: registered: not yet; doorbell: not yet; heartbeat: not yet; taking_work: not yet\n"
    );
    assert_eq!((agent.get("/livez").status(), agent.get("/livez").body.as_str()), (200, "live\n"));
    locked.close().await.unwrap();
    agent.wait_until("/readyz", "ready");
    assert_eq!(agent.get("/readyz").status(), 200);
    let workers = machine.store.workers().await.unwrap();
    assert_eq!(workers.len(), 1, "who is ready is registered");
}

#[tokio::test]
async fn a_worker_whose_store_does_not_answer_lives_but_is_not_ready() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &[], &[("ATTUNE__WORKER__LEASE", "1s")]);
    agent.wait_until("/readyz", "ready");
    let locked = machine.lock_store().await;
    agent.wait_until("/readyz", "not ready: heartbeat: ");
    assert_eq!(agent.get("/readyz").status(), 503);
    assert_eq!(agent.get("/livez").status(), 200, "a new start would not bring the store back");
    let metrics = agent.get("/metrics").body;
    assert!(metrics.contains("attune_worker_condition{condition=\"heartbeat\"} 0\n"), "{metrics}");
    locked.close().await.unwrap();
    agent.wait_until("/readyz", "ready");
}

#[tokio::test]
async fn the_metrics_count_what_happened() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &[], &[("ATTUNE__WORKER__MAX_LOG_BYTES", "100000")]);
    for name in ["quick", "quick", "fails", "loud"] {
        machine.ended(machine.submit(name, json!({})).await).await;
    }
    machine.submit("silent", json!({})).await;
    agent.wait_until("/readyz", "ready");
    // what is counted last
    wait_for("four to have ended, and one to run", || {
        let metrics = agent.get("/metrics").body;
        metrics.contains("attune_worker_run_duration_seconds_count 4\n")
            && metrics.contains("attune_worker_slots_busy 1\n")
            && metrics.contains("attune_worker_claims_total 5\n")
    });
    let answer = agent.get("/metrics");
    assert_eq!(answer.status(), 200);
    assert!(
        answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        answer.head
    );
    insta::with_settings!({filters => vec![
        // how long things took differs; how many there were does not
        (r#"(_bucket\{le="[0-9.e]+"\}) \d+"#, "$1 [COUNT]"),
        (r"(_sum) [0-9.e-]+", "$1 [SECONDS]"),
        (r"(claim_duration_seconds_bucket.*|claim_duration_seconds_count) \d+", "$1 [COUNT]"),
        (r"(heartbeat_age_seconds) [0-9.e-]+", "$1 [SECONDS]"),
        (r#"architecture="[^"]+""#, "architecture=\"[ARCHITECTURE]\""),
        (r#"version="[^"]+""#, "version=\"[VERSION]\""),
    ]}, {
        insta::assert_snapshot!(answer.body);
    });
}

#[tokio::test]
async fn the_health_check_says_in_one_line_what_is_wrong() {
    let machine = machine().await;
    let mut agent = Agent::start(&machine, &[], &[]);
    agent.wait_until("/readyz", "ready");
    let address = agent.address().to_owned();
    let check = |arguments: &[&str]| told(&agent.healthcheck(arguments), &address);
    let mut lines = vec![check(&[]), check(&["--live"]), check(&["--addr", &address])];
    let running = machine.submit("endless", json!({})).await;
    machine.logged(running, 1, "started").await;
    agent.signal(Signal::TERM);
    agent.wait_until("/readyz", "not ready: taking_work: draining");
    lines.extend([check(&[]), check(&["--live"])]);
    agent.signal(Signal::TERM);
    agent.wait();
    lines.push(told(&agent.healthcheck(&[]), &address));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_health_check_explains_a_wrong_address() {
    let ask = |arguments: &[&str], environment: &[(&str, &str)], address: &str| {
        told(&healthcheck(arguments, environment), address)
    };
    // accepts, and never says a word
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    // says something that is not HTTP
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other_address = other.local_addr().unwrap().to_string();
    let speaking = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    let lines = [
        ask(&[], &[], "NONE"),
        ask(&["--addr", "nowhere"], &[], "NONE"),
        ask(&["--addr", "127.0.0.1:0"], &[], "NONE"),
        ask(&[], &[("ATTUNE__WORKER__HEALTH_ADDR", "[::]:0")], "NONE"),
        ask(&["--addr", &silent_address, "--timeout", "50ms"], &[], &silent_address),
        ask(&["--addr", &other_address], &[], &other_address),
    ];
    speaking.join().unwrap();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn no_client_can_occupy_the_probes() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &[], &[]);
    agent.wait_until("/readyz", "ready");
    let silent: Vec<_> = (0..200).map(|_| agent.connect()).collect();
    let halves: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = agent.connect();
            // those behind it may have thrown it out already
            let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: ");
            stream
        })
        .collect();
    assert_eq!(agent.get("/readyz").body, "ready\n");
    drop((silent, halves));
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        ("POST /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), 405),
        ("HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        (format!("GET /readyz HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(200)), 431),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ];
    for (request, status) in cases {
        let answer = agent.send(&request);
        assert_eq!(answer.status(), status, "{request:.40}: {answer:?}");
    }
    assert_eq!(agent.get("/readyz").body, "ready\n");
}

#[tokio::test]
async fn probes_are_answered_on_every_address_of_both_kinds() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &["--health-addr", "[::]:0"], &[]);
    let port = agent.address().strip_prefix("[::]:").unwrap_or_else(|| panic!("{}", agent.address()));
    let check = || healthcheck(&["--live", "--addr", &format!("127.0.0.1:{port}")], &[]);
    assert!(check().status.success(), "{}", shown(&check()));
}
