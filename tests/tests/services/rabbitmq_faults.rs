//! The RabbitMQ doorbell when things break: it is noticed, and outlived.

use std::{collections::BTreeSet, time::Duration};

use attune_common::{
    doorbell::{Answer, Wake},
    requirement::Requirement,
};
use attune_tests::{
    dev::wait_for,
    private_server::PrivateServer,
    rabbitmq::{self, Broker},
};

use crate::{
    amqp, cancel, heard, listen_again, queued,
    rabbitmq_offers::{Follower, execution},
    woken,
};

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

/// A channel has an error of its own, which leaves its connection alone (<https://www.rabbitmq.com/docs/channels#error-handling>):
/// here somebody deletes the exchange to which is rung. Of listeners, the test of held offers closes the channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_the_broker_closes_is_made_again() {
    let vhost = rabbitmq::shared().vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    bell.ring(&queued("shell")).await.unwrap();
    let exchange = format!("rabbit_misc:r(<<\"{}\">>, exchange, <<\"attune.executions\">>)", vhost.name);
    let _ =
        vhost.broker.control(&["eval", &format!("rabbit_exchange:delete({exchange}, false, <<\"test\">>).")]);
    let told = bell.ring(&queued("shell")).await.unwrap_err().to_string();
    assert!(told.contains("no exchange 'attune.executions' in vhost"), "{told}");
    let ring = queued("shell");
    bell.ring(&ring).await.unwrap();
    let mut follower = Follower::new(&*bell, &["shell"]).await;
    let mut offered = BTreeSet::new();
    while !offered.contains(&execution(&ring)) {
        let offer = follower.offered().await;
        offered.insert(offer.execution());
        offer.answer(Answer::Decided);
    }
    // what was there before is still there, and the one that failed is not
    assert_eq!(offered.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_short_of_memory_takes_no_rings_and_delays_nobody() {
    let broker = Broker::start();
    let bell = amqp(&broker.vhost().url(), None).unwrap();
    let mut listener = bell.listen().await.unwrap();
    bell.ring(&cancel()).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);
    let waiting = queued("shell");
    bell.ring(&waiting).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForWork, "there is a new queue");

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
    let shell: Requirement = "shell".parse().unwrap();
    let counted = bell.kept_rings().expect("a broker keeps them").count(&shell).await;
    assert_eq!(
        counted.unwrap_err().to_string(),
        told,
        "nor is it asked, which would hold up whoever rings next"
    );
    // what it has, it still gives
    let mut follower = Follower::new(&*bell, &["shell"]).await;
    let offer = follower.offered().await;
    assert_eq!(offer.execution(), execution(&waiting));
    offer.answer(Answer::Decided);

    let _ = broker.control(&["set_vm_memory_high_watermark", "0.4"]);
    while bell.ring(&cancel()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(heard(&mut listener).await, Wake::LookForCancellations);
}
