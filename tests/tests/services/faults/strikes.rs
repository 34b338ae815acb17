//! What breaks, and how it comes back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use attune_tests::{
    postgres::Server,
    private_server::PrivateServer,
    proxy::{Break, Mode},
    rabbitmq::Broker,
};
use fastrand::Rng;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use super::fleet::{AGENTS, Fleet, LEASE, Service};

/// RabbitMQ 3.10 loses what was declared in the last seconds before it is killed: it has this long after its last start.
const BROKER_REST: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum Strike {
    KillAgent,
    StopAgent,
    /// In order, as somebody who installs the next version does.
    ReplaceAgent,
    Delay(Service),
    Cut(Service),
    HalfOpen(Service),
    Reset(Service),
    Kill(Service),
    Stop(Service),
    /// In order.
    Restart(Service),
}

/// How a service is taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interruption {
    Kill,
    Stop,
    Restart,
}

/// Every strike, as often as it comes in turn: all have come before one comes again.
fn deck() -> Vec<Strike> {
    let mut deck =
        vec![Strike::Kill(Service::Database), Strike::Kill(Service::Database), Strike::Kill(Service::Broker)];
    deck.extend([Strike::KillAgent; 6]);
    deck.extend([Strike::StopAgent; 4]);
    deck.extend([Strike::ReplaceAgent; 2]);
    for service in [Service::Database, Service::Broker] {
        deck.extend([Strike::Stop(service), Strike::Restart(service)]);
        deck.extend([Strike::Delay(service); 2]);
        deck.extend([Strike::HalfOpen(service); 2]);
        deck.extend([Strike::Cut(service); 3]);
        deck.extend([Strike::Reset(service); 3]);
    }
    deck
}

enum Undo {
    /// Lets a stopped agent go on, if it was not started again meanwhile.
    Continue { agent: usize, start: usize },
    /// Makes a network work again.
    Pass { agent: usize, service: Service },
}

pub(super) struct Strikes {
    random: Rng,
    deck: Vec<Strike>,
    database: Arc<Mutex<Server>>,
    broker: Arc<Mutex<Broker>>,
    undo: Vec<(Instant, Undo)>,
    interruptions: Vec<JoinHandle<()>>,
    counts: BTreeMap<String, usize>,
    ended: bool,
}

impl Strikes {
    pub(super) fn new(random: Rng, database: Server, broker: Broker) -> Self {
        Self {
            random,
            deck: Vec::new(),
            database: Arc::new(Mutex::new(database)),
            broker: Arc::new(Mutex::new(broker)),
            undo: Vec::new(),
            interruptions: Vec::new(),
            counts: BTreeMap::new(),
            ended: false,
        }
    }

    /// How often each came.
    pub(super) fn counts(&self) -> &BTreeMap<String, usize> {
        &self.counts
    }

    /// Those that never came.
    pub(super) fn missing(&self) -> Vec<String> {
        let all = deck().into_iter().map(|strike| format!("{strike:?}"));
        all.filter(|strike| !self.counts.contains_key(strike)).collect()
    }

    /// Whether so few came that not all may have come when everything is submitted, of which this is the part so far.
    pub(super) fn are_late(&self, part: f64) -> bool {
        (self.counts.values().sum::<usize>() as f64) < part * deck().len() as f64
    }

    /// Undoes what has lasted long enough.
    pub(super) fn recover(&mut self, fleet: &Fleet) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(when, _)| *when <= now);
        self.undo = later;
        undo(due, fleet);
    }

    /// Undoes everything, and waits until both services are there again. Connections that have lost something are told so:
    /// an outcome is waited for up to a minute.
    pub(super) async fn end(&mut self, fleet: &Fleet) {
        if self.ended {
            return;
        }
        self.ended = true;
        undo(std::mem::take(&mut self.undo), fleet);
        for agent in &fleet.agents {
            for service in [Service::Database, Service::Broker] {
                agent.network(service).end_connections(Break::Reset);
            }
        }
        for interruption in self.interruptions.drain(..) {
            interruption.await.expect("the service comes back");
        }
    }

    /// Breaks something.
    pub(super) fn strike(&mut self, fleet: &mut Fleet) {
        if self.deck.is_empty() {
            self.deck = deck();
            self.random.shuffle(&mut self.deck);
        }
        let strike = self.deck.pop().expect("it was filled");
        let index = self.random.usize(..AGENTS);
        let (for_a_while, for_longer) = (self.millis(500, 3000), LEASE.1 + self.millis(500, 2000));
        let agent = &fleet.agents[index];
        match strike {
            Strike::KillAgent => fleet.restart(index),
            Strike::ReplaceAgent => fleet.agents[index].leave(),
            Strike::StopAgent => {
                agent.signal(Signal::STOP);
                self.later(for_longer, Undo::Continue { agent: index, start: agent.starts });
            }
            Strike::Delay(service) => {
                let delay = self.millis(20, 300);
                agent.network(service).set(Mode::Delay(delay));
                self.later(for_a_while, Undo::Pass { agent: index, service });
            }
            Strike::Cut(service) => agent.network(service).end_connections(Break::Cut),
            Strike::HalfOpen(service) => {
                agent.network(service).set(Mode::Swallow);
                self.later(for_longer, Undo::Pass { agent: index, service });
            }
            Strike::Reset(service) => agent.network(service).end_connections(Break::Reset),
            Strike::Kill(service) => self.interrupt(service, Interruption::Kill, for_a_while),
            Strike::Stop(service) => self.interrupt(service, Interruption::Stop, for_a_while),
            Strike::Restart(service) => self.interrupt(service, Interruption::Restart, for_a_while),
        }
        *self.counts.entry(format!("{strike:?}")).or_default() += 1;
    }

    /// Takes a service away for a while, one after the other if it is away already.
    fn interrupt(&mut self, service: Service, how: Interruption, time: Duration) {
        let (database, broker) = (self.database.clone(), self.broker.clone());
        self.interruptions.push(tokio::task::spawn_blocking(move || match service {
            Service::Database => interrupt(&mut *database.lock().expect("it came back"), how, time),
            Service::Broker => {
                let mut broker = broker.lock().expect("it came back");
                if how == Interruption::Kill {
                    std::thread::sleep(BROKER_REST);
                }
                interrupt(&mut *broker, how, time);
            }
        }));
    }

    fn later(&mut self, after: Duration, undo: Undo) {
        self.undo.push((Instant::now() + after, undo));
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.random.u64(least..most))
    }
}

fn interrupt(server: &mut impl PrivateServer, how: Interruption, time: Duration) {
    match how {
        Interruption::Kill => server.kill(),
        Interruption::Stop => server.pause(),
        Interruption::Restart => server.stop(),
    }
    std::thread::sleep(time);
    match how {
        Interruption::Stop => server.resume(),
        Interruption::Kill | Interruption::Restart => server.start_again(),
    }
}

fn undo(due: Vec<(Instant, Undo)>, fleet: &Fleet) {
    for (_, undo) in due {
        match undo {
            Undo::Continue { agent, start } => {
                let agent = &fleet.agents[agent];
                if agent.starts == start {
                    agent.signal(Signal::CONT);
                }
            }
            Undo::Pass { agent, service } => fleet.agents[agent].network(service).set(Mode::Pass),
        }
    }
}
