//! Queues of requirements: one worker is offered an execution, and what nobody takes waits.

use std::collections::BTreeSet;

use attune_common::{
    doorbell::{Answer, Doorbell, DoorbellError, Listener, Offer, Ring, Wake},
    model::ExecutionId,
    requirement::Requirement,
};
use attune_tests::{
    dev::wait_for,
    private_server::PrivateServer,
    rabbitmq::{self, Broker, Vhost},
};

use crate::{amqp, heard, listen_again, queued, rabbitmq_workers::ACKNOWLEDGEMENT_TIMED_OUT, woken};

/// A listener that does as a worker does: it follows what it is for whenever it is told to look for work.
pub(super) struct Follower {
    listener: Box<dyn Listener>,
    requirements: Vec<Requirement>,
}

impl Follower {
    pub(super) async fn new(bell: &dyn Doorbell, requirements: &[&str]) -> Self {
        let listener = bell.listen().await.unwrap();
        assert!(listener.offers());
        let requirements = requirements.iter().map(|text| text.parse().unwrap()).collect();
        let mut follower = Self { listener, requirements };
        follower.look();
        // its queues are there now: a ring that had to make one would have it followed anew
        let settled = heard(&mut follower.listener).await;
        assert!(!matches!(settled, Wake::Offered(_)), "{settled:?}");
        follower
    }

    fn look(&mut self) {
        self.listener.follow(&self.requirements);
        self.listener.accept(true);
    }

    pub(super) async fn offered(&mut self) -> Offer {
        self.offered_or_lost().await.unwrap()
    }

    /// The next offer, whatever else is heard before it.
    async fn offered_or_lost(&mut self) -> Result<Offer, DoorbellError> {
        loop {
            match woken(&mut self.listener).await? {
                Wake::Offered(offer) => return Ok(offer),
                _ => self.look(),
            }
        }
    }
}

pub(super) fn execution(ring: &Ring) -> ExecutionId {
    match ring {
        Ring::Queued { execution, .. } | Ring::CancelRequested { execution } => *execution,
    }
}

/// Messages of the only queue of an execution, ready and held.
fn waiting(vhost: &Vhost<'_>) -> String {
    let all = ["list_queues", "--vhost", &vhost.name, "name", "messages_ready", "messages_unacknowledged"];
    let listed = vhost.broker.control(&all);
    let of_executions: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("attune.executions.")).collect();
    of_executions.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requirement_is_a_durable_quorum_queue_that_holds_what_nobody_takes() {
    let vhost = rabbitmq::shared().vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    for _ in 0..3 {
        bell.ring(&queued("python >=3.11; gpu=nvidia")).await.unwrap();
    }
    wait_for("three messages", || waiting(&vhost) == "python >=3.11; gpu=nvidia\t3\t0");
    let told = |columns: &[&str]| {
        let listed = vhost.broker.control(&[&["list_queues", "--vhost", &vhost.name][..], columns].concat());
        listed.replace(&vhost.name, "VHOST")
    };
    insta::assert_snapshot!(told(&["name", "type", "durable", "auto_delete", "arguments"]), @r#"
name	type	durable	auto_delete	arguments
attune.executions.python >=3.11; gpu=nvidia	quorum	true	false	[{"x-expires",604800000},{"x-queue-type","quorum"}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_execution_is_offered_to_one_worker_and_gone_when_it_is_decided() {
    let vhost = rabbitmq::shared().vhost();
    let (here, there) = (amqp(&vhost.url(), None).unwrap(), amqp(&vhost.url(), None).unwrap());
    let mut first = Follower::new(&*here, &["shell", "python"]).await;
    let mut second = Follower::new(&*there, &["shell", "node"]).await;
    let mut expected = BTreeSet::new();
    for requirement in ["shell", "python", "shell", "node", "shell", "shell"] {
        let ring = queued(requirement);
        here.ring(&ring).await.unwrap();
        expected.insert(execution(&ring));
    }
    let mut taken = Vec::new();
    while taken.len() < expected.len() {
        let offer = tokio::select! {
            offer = first.offered() => offer,
            offer = second.offered() => offer,
        };
        taken.push(offer.execution());
        offer.answer(Answer::Decided);
    }
    assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), expected);
    wait_for("empty queues", || waiting(&vhost).lines().all(|line| line.ends_with("\t0\t0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_worker_gives_back_another_is_offered() {
    let vhost = rabbitmq::shared().vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    let mut busy = Follower::new(&*bell, &["shell"]).await;
    let ring = queued("shell");
    bell.ring(&ring).await.unwrap();
    let offer = busy.offered().await;
    busy.listener.accept(false);
    offer.answer(Answer::GivenBack);
    wait_for("it is back", || waiting(&vhost) == "shell\t1\t0");
    let mut idle = Follower::new(&*bell, &["shell"]).await;
    let offer = idle.offered().await;
    assert_eq!(offer.execution(), execution(&ring));
    // a worker that is gone has taken nothing
    drop(idle);
    drop(offer);
    busy.listener.accept(true);
    assert_eq!(busy.offered().await.execution(), execution(&ring));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_free_slot_keeps_nothing_from_others() {
    let vhost = rabbitmq::shared().vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    let mut busy = Follower::new(&*bell, &["shell"]).await;
    bell.ring(&queued("shell")).await.unwrap();
    let last = busy.offered().await;
    // as a worker does that took what fills its last slot
    busy.listener.accept(false);
    last.answer(Answer::Decided);
    for _ in 0..5 {
        bell.ring(&queued("shell")).await.unwrap();
    }
    wait_for("all of them wait", || waiting(&vhost) == "shell\t5\t0");
    let mut idle = Follower::new(&*bell, &["shell"]).await;
    for _ in 0..5 {
        idle.offered().await.answer(Answer::Decided);
    }
    busy.listener.accept(true);
    wait_for("none waits", || waiting(&vhost) == "shell\t0\t0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_requirement_is_told_to_every_worker_at_once() {
    let vhost = rabbitmq::shared().vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    let (mut first, mut second) = (bell.listen().await.unwrap(), bell.listen().await.unwrap());
    let ring = queued("ruby");
    bell.ring(&ring).await.unwrap();
    for listener in [&mut first, &mut second] {
        assert_eq!(heard(listener).await, Wake::LookForWork);
    }
    let mut second = Follower { listener: second, requirements: vec!["ruby".parse().unwrap()] };
    second.look();
    assert_eq!(second.offered().await.execution(), execution(&ring));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_somebody_deletes_is_made_again() {
    let vhost = rabbitmq::shared().vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    let mut listener = Follower::new(&*bell, &["shell"]).await;
    bell.ring(&queued("shell")).await.unwrap();
    listener.offered().await.answer(Answer::Decided);
    let deleted = ["delete_queue", "--vhost", &vhost.name, "attune.executions.shell"];
    let _ = vhost.broker.control(&deleted);
    let ring = queued("shell");
    bell.ring(&ring).await.unwrap();
    assert_eq!(listener.offered().await.execution(), execution(&ring));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_outlives_a_restart_of_the_broker() {
    let mut broker = Broker::start();
    let bell = amqp(&broker.vhost().url(), None).unwrap();
    let ring = queued("shell");
    bell.ring(&ring).await.unwrap();
    broker.stop();
    broker.start_again();
    // until it has found the queue again, which takes a while, it does not answer
    let offer = loop {
        let listener = listen_again(&bell).await;
        let mut follower = Follower { listener, requirements: vec!["shell".parse().unwrap()] };
        follower.look();
        if let Ok(offer) = follower.offered_or_lost().await {
            break offer;
        }
    };
    assert_eq!(offer.execution(), execution(&ring));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_is_held_for_too_long_is_taken_away_and_offered_again() {
    // its log belongs to this test alone
    let broker = Broker::start();
    let vhost = broker.vhost();
    let bell = amqp(&vhost.url(), None).unwrap();
    let mut follower = Follower::new(&*bell, &["shell"]).await;
    bell.ring(&queued("shell")).await.unwrap();
    let held = follower.offered().await;
    wait_for("the broker to lose its patience", || broker.log().contains(ACKNOWLEDGEMENT_TIMED_OUT));
    drop(held);
    let mut next = Follower::new(&*bell, &["shell"]).await;
    next.offered().await;
}
