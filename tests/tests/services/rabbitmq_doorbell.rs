//! The RabbitMQ doorbell: rings arrive at once, and what keeps it from working is said in words.

use std::{net::TcpListener, path::PathBuf, time::Duration};

use attune_common::{
    config::Sources,
    doorbell::{self, Wake},
};
use attune_tests::{
    postgres,
    rabbitmq::{self, PASSWORD, Vhost},
};

use crate::{amqp, backend, cancel, heard, queued};

#[tokio::test]
async fn a_cancellation_reaches_every_listener_of_every_connection() {
    let url = rabbitmq::shared().vhost().url();
    let (here, there) = (amqp(&url, None).unwrap(), amqp(&url, None).unwrap());
    let (mut first, mut second) = (here.listen().await.unwrap(), there.listen().await.unwrap());
    here.ring(&cancel()).await.unwrap();
    let wake = Wake::LookForCancellations;
    assert_eq!((&heard(&mut first).await, &heard(&mut second).await), (&wake, &wake));
}

#[tokio::test]
async fn what_is_rung_while_nobody_listens_is_no_failure() {
    let bell = amqp(&rabbitmq::shared().vhost().url(), None).unwrap();
    drop(bell.listen().await.unwrap());
    bell.ring(&queued("shell")).await.unwrap();
    bell.ring(&cancel()).await.unwrap();
    let mut listener = bell.listen().await.unwrap();
    // of what concerned everybody then, nothing is left
    bell.ring(&queued("python")).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForWork);
}

#[tokio::test]
async fn with_a_broker_the_database_is_still_looked_at() {
    let database = postgres::shared().database().await;
    let vhost = rabbitmq::shared().vhost();
    let variables = [
        ("ATTUNE__MESSAGE_QUEUE__URL", vhost.url()),
        ("ATTUNE__DATABASE__SWEEP_INTERVAL", "10ms".to_owned()),
    ];
    let environment = variables.map(|(name, value)| (name.into(), value.into())).to_vec();
    let configuration = Sources { file: None, environment }.load().unwrap();
    let bell = doorbell::open(&backend(&database.url("owner")).await, &configuration).unwrap();
    assert!(format!("{bell:?}", bell = configuration.message_queue).contains("REDACTED"));
    let mut listener = bell.listen().await.unwrap();
    for _ in 0..3 {
        assert_eq!(heard(&mut listener).await, Wake::Sweep);
    }
}

#[tokio::test]
async fn a_broker_that_the_authority_vouches_for_is_used() {
    let vhost = rabbitmq::shared().vhost();
    let secure = amqp(&vhost.tls_url(), Some(vhost.broker.authority())).unwrap();
    let mut listener = secure.listen().await.unwrap();
    secure.ring(&cancel()).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);
    let listed = vhost.broker.control(&["list_connections", "vhost", "ssl"]);
    let encrypted: Vec<&str> = listed.lines().filter(|line| line.starts_with(&vhost.name)).collect();
    assert_eq!(encrypted, vec![format!("{}\ttrue", vhost.name); 2], "{listed}");
}

/// An address at which nothing listens, and one at which something does that never says a word.
fn addresses() -> (String, TcpListener) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    (free, TcpListener::bind("127.0.0.1:0").unwrap())
}

fn masked(text: &str, vhost: &Vhost<'_>, others: &[&str]) -> String {
    assert!(!text.contains(PASSWORD) && !text.contains("hunter2"), "{text}");
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let (plain, secure) = (vhost.broker.address(), vhost.broker.tls_address());
    let mut text = text.replace(&port(&plain), "PORT").replace(&port(&secure), "TLS-PORT");
    for other in others {
        text = text.replace(&port(other), "OTHER-PORT");
    }
    text.replace(&vhost.name, "VHOST")
}

#[tokio::test]
async fn what_keeps_it_from_working_is_said_with_what_to_do() {
    let vhost = rabbitmq::shared().vhost();
    let (nowhere, silent) = addresses();
    let silent_address = silent.local_addr().unwrap().to_string();
    let (plain, secure) = (vhost.url(), vhost.tls_url());
    let broker = vhost.broker;
    let cases: [(&str, String, Option<PathBuf>); 8] = [
        ("wrong password", plain.replace(PASSWORD, "hunter2"), None),
        ("wrong vhost", plain.replace(&vhost.name, "nowhere"), None),
        ("unreachable", plain.replace(&broker.address(), &nowhere), None),
        ("silent", plain.replace(&broker.address(), &silent_address), None),
        ("public authorities only", secure.clone(), None),
        ("another authority", secure.clone(), Some(broker.other_authority())),
        ("another name", secure.replace("127.0.0.1", "localhost"), Some(broker.authority())),
        (
            "TLS to a port without",
            secure.replace(&broker.tls_address(), &broker.address()),
            Some(broker.authority()),
        ),
    ];
    let mut told = Vec::new();
    for (what, url, ca_file) in cases {
        let bell = amqp(&url, ca_file).unwrap();
        let Err(listening) = bell.listen().await else { panic!("{what}: it must be refused") };
        let ringing = bell.ring(&queued("shell")).await.expect_err("it must be refused");
        assert_eq!(ringing.to_string(), listening.to_string());
        told.push(format!("{what}: {}", masked(&ringing.to_string(), &vhost, &[&nowhere, &silent_address])));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn a_port_that_speaks_something_else_is_told() {
    let vhost = rabbitmq::shared().vhost();
    let url = vhost.url().replace(&vhost.broker.address(), &vhost.broker.tls_address());
    let Err(told) = amqp(&url, None).unwrap().listen().await else { panic!("it must be refused") };
    // whether the answer or the end of the connection comes first is not decided
    let told = told.to_string();
    assert!(told.contains("it cannot be talked to (") && told.contains("check scheme and port"), "{told}");
}

#[tokio::test]
async fn after_a_connection_could_not_be_made_rings_fail_without_waiting() {
    let vhost = rabbitmq::shared().vhost();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = vhost.url().replace(&vhost.broker.address(), &silent.local_addr().unwrap().to_string());
    let bell = amqp(&url, None).unwrap();
    let rings = async {
        for _ in 0..5 {
            let first = bell.ring(&queued("shell")).await.unwrap_err();
            // until it is time for the next try, nobody else is asked
            silent.set_nonblocking(true).unwrap();
            while silent.accept().is_ok() {}
            let second = bell.ring(&queued("shell")).await.unwrap_err();
            assert_eq!(first.to_string(), second.to_string());
        }
    };
    tokio::time::timeout(Duration::from_mins(2), rings).await.expect("every wait has an end");
}
