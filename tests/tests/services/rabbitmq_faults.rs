//! The RabbitMQ doorbell when things break: it is noticed, and outlived.

use std::time::Duration;

use attune_common::doorbell::Wake;
use attune_tests::{
    dev::wait_for,
    private_server::PrivateServer,
    rabbitmq::{self, Broker},
};

use crate::{amqp, cancel, heard, listen_again, woken};

#[tokio::test]
async fn a_broker_that_is_killed_is_noticed_and_heard_again_when_it_is_back() {
    let mut broker = Broker::start();
    let url = broker.vhost().url();
    let bell = amqp(&url, None).unwrap();
    let mut listener = bell.listen().await.unwrap();
    bell.ring(&cancel()).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);

    broker.kill();
    let lost = woken(&mut listener).await.unwrap_err().to_string();
    assert!(lost.starts_with("doorbell: lost the connection that listens: "), "{lost}");
    bell.ring(&cancel()).await.expect_err("nobody is there");

    broker.start_again();
    let mut listener = listen_again(&bell).await;
    // until it is time for the next try, rings fail
    while bell.ring(&cancel()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);
}

#[tokio::test]
async fn a_connection_that_the_broker_closes_is_noticed() {
    let vhost = rabbitmq::shared().vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    let mut listener = bell.listen().await.unwrap();
    let _ = vhost.broker.control(&["close_all_connections", "--vhost", &vhost.name, "upkeep"]);
    let lost = woken(&mut listener).await.unwrap_err().to_string();
    assert!(lost.contains("CONNECTION_FORCED - upkeep"), "{lost}");
    let mut listener = listen_again(&bell).await;
    bell.ring(&cancel()).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_short_of_memory_takes_no_rings_and_delays_nobody() {
    let broker = Broker::start();
    let bell = amqp(&broker.vhost().url(), None).unwrap();
    let mut listener = bell.listen().await.unwrap();
    bell.ring(&cancel()).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);

    let _ = broker.control(&["set_vm_memory_high_watermark", "0.00001"]);
    wait_for("the alarm", || broker.log().contains("memory resource limit alarm set"));
    let mut told = String::new();
    // the first one may still be taken before the broker says that it takes none
    for _ in 0..3 {
        if let Err(error) = bell.ring(&cancel()).await {
            told = error.to_string();
        }
    }
    assert!(told.contains("it is short of memory or disk space and takes no messages"), "{told}");

    let _ = broker.control(&["set_vm_memory_high_watermark", "0.4"]);
    while bell.ring(&cancel()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);
}
