//! Starting, reaping, stopping; and the program around it.

use std::{process::Command, time::Duration};

use attune_common::{
    doorbell::{Doorbell, Wake},
    model::ExecutionStatus,
};

use crate::server::Server;

const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test]
async fn executions_of_silent_workers_are_requeued_and_then_lost() {
    let server = Server::with_lease(Duration::from_millis(30)).await;
    server.push(crate::server::demo_files("1.0.0")).await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let mut listener = server.doorbell.listen().await.unwrap();
    server.store.claim(worker, id, MOMENT).await.unwrap().unwrap();
    assert_eq!(listener.wake().await.unwrap(), Wake::LookForWork, "the reaper rings for what it requeued");
    let execution = server.store.execution(id).await.unwrap().unwrap();
    assert_eq!((execution.status, execution.attempt), (ExecutionStatus::Queued, 1));

    let worker = server.register("box", "shell", "5.2.15").await;
    server.store.claim(worker, id, MOMENT).await.unwrap().unwrap();
    // a follower waits for the end
    let follow = server.request(reqwest::Method::GET, &format!("/executions/{id}/logs/follow"));
    let told = follow.send().await.unwrap().text().await.unwrap();
    assert!(told.contains("event: end") && told.contains(r#""status":"lost""#), "{told}");
}

#[tokio::test]
async fn a_server_stops_when_it_is_told_to() {
    let mut server = Server::start().await;
    server.get("/workers").await;
    server.shutdown.cancel();
    (&mut server.served).await.unwrap().unwrap();
    let refused = server.client.get(format!("{}/healthz", server.base)).send().await;
    assert!(refused.unwrap_err().is_connect());
}

#[tokio::test]
async fn addresses_that_will_not_do_are_explained() {
    let taken = attune_api::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = attune_api::bind(&address).await.unwrap_err().to_string();
    assert_eq!(
        in_use.replace(&address, "ADDRESS"),
        "cannot listen on ADDRESS: address in use; stop what listens there or choose another with --listen"
    );
    for bad in ["", "8650", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:http"] {
        let told = attune_api::bind(bad).await.unwrap_err().to_string();
        assert_eq!(
            told,
            format!(
                "cannot listen on '{bad}': HOST:PORT is expected, such as 127.0.0.1:8650; choose one with --listen"
            )
        );
    }
    let told = attune_api::bind("192.0.2.1:8650").await.unwrap_err().to_string();
    assert!(told.starts_with("cannot listen on 192.0.2.1:8650: ") && told.contains("--listen"), "{told}");
}

#[test]
fn the_program_explains_bad_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/attune.db", dir.path().display());
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = occupied.local_addr().unwrap().to_string();
    let token = ("ATTUNE__API__TOKEN", "0123456789abcdef");
    let database = ("ATTUNE__DATABASE__URL", url.as_str());
    let mut told = String::new();
    for (arguments, environment, expected) in [
        (vec![], vec![], 2),
        (vec![], vec![("ATTUNE__API__TOKEN", "hunter2")], 2),
        (vec![], vec![token], 2),
        (vec![], vec![token, ("ATTUNE__DATABASE__URL", "mysql://root:hunter2@db/x")], 2),
        (vec![], vec![token, ("ATTUNE__DATABASE__URL", "sqlite:///nonexistent/attune.db")], 1),
        (vec!["--listen", "nowhere"], vec![token, database], 2),
        (vec!["--listen", &occupied], vec![token, database], 1),
        (vec![], vec![("ATTUNE__API__TOKNE", "x")], 2),
        (vec!["--config", "/nonexistent.yaml"], vec![], 2),
        (vec!["--lisen", "x"], vec![], 2),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_attune-api"))
            .args(&arguments)
            .env_clear()
            .envs(environment.clone())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{arguments:?} {environment:?} {error}");
        assert!(output.stdout.is_empty() && !error.contains("hunter2"), "{error}");
        told.push_str(error.lines().next().unwrap_or_default());
        told.push('\n');
    }
    insta::assert_snapshot!(told.replace(&occupied, "ADDRESS"));
}
