//! A listener's end of the broker: what every worker is told, and the executions that this one is offered.
//!
//! Offers come one at a time from every queue followed (`basic.qos` 1), and only while they are wanted. The connection and all
//! that is consumed belong to one task; a listener sends it [`Order`]s. A delivery is acknowledged when the store has decided who
//! runs the execution, and never held as long as it runs, so that the broker's `consumer_timeout` has nothing to count.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    Stream, StreamExt,
    stream::{self, SelectAll},
};
use lapin::{
    Acker, Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    broker::{PATIENCE, told},
    topology,
};
use crate::{
    doorbell::{
        Ring, Wake,
        heard::Heard,
        offer::{Answer, Offer},
    },
    requirement::Requirement,
};

/// How long offers are kept in hand after no more were wanted: an action that ends within this time is followed by the next
/// one without asking the broker for it, and another worker need not wait for longer.
const LINGER: Duration = Duration::from_millis(20);

/// What a listener asks of its subscription.
#[derive(Debug)]
pub(super) enum Order {
    /// Follow the queues of these requirements, too.
    Follow(Vec<Requirement>),
    /// Whether offers are wanted.
    Accept(bool),
    /// This delivery was answered.
    Answer(Acker, Answer),
}

enum Event {
    Delivered(Box<lapin::Result<Delivery>>),
    /// The consumer of this tag gets nothing more.
    Ended(ShortString),
}

type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A connection that listens.
pub(super) struct Subscription {
    // closed when nobody listens any more
    _connection: Connection,
    channel: Channel,
    control: Consumer,
    followed: BTreeSet<ShortString>,
    /// The tag of the consumer of each queue.
    consumers: BTreeMap<ShortString, ShortString>,
    consumed: u64,
    offers: SelectAll<Events>,
    accepting: bool,
    /// Offers that came when none were wanted any more.
    in_hand: Vec<Delivery>,
    let_go_at: Option<Instant>,
    orders: (mpsc::UnboundedSender<Order>, mpsc::UnboundedReceiver<Order>),
}

impl Subscription {
    /// Subscribes to what every worker is told.
    pub(super) async fn new(connection: Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        topology::declare_exchanges(&channel).await?;
        let own = topology::declare_own_queue(&channel).await?;
        let heard_is_done = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let control =
            channel.basic_consume(own, ShortString::default(), heard_is_done, FieldTable::default()).await?;
        // of each consumer that follows
        channel.basic_qos(1, BasicQosOptions::default()).await?;
        Ok(Self {
            _connection: connection,
            channel,
            control,
            followed: BTreeSet::new(),
            consumers: BTreeMap::new(),
            consumed: 0,
            offers: SelectAll::new(),
            accepting: false,
            in_hand: Vec::new(),
            let_go_at: None,
            orders: mpsc::unbounded_channel(),
        })
    }

    /// Where to send orders.
    pub(super) fn orders(&self) -> mpsc::UnboundedSender<Order> {
        self.orders.0.clone()
    }

    /// Hears until the connection is lost, and returns why it is.
    pub(super) async fn hear(mut self, heard: Arc<Heard>) -> String {
        loop {
            let let_go_at = self.let_go_at;
            let done = tokio::select! {
                told = self.control.next() => match told {
                    Some(Ok(delivery)) => self.hear_control(&delivery.data, &heard).await,
                    Some(Err(error)) => Err(error),
                    None => return "the broker ended the subscription".to_owned(),
                },
                Some(event) = self.offers.next(), if !self.offers.is_empty() => self.take(event, &heard).await,
                Some(order) = self.orders.1.recv() => {
                    let Ok(done) = timeout(PATIENCE, self.follow_order(order, &heard)).await else {
                        return format!("no answer within {PATIENCE:?}");
                    };
                    done
                }
                () = async { tokio::time::sleep_until(let_go_at.unwrap_or_else(Instant::now)).await },
                    if let_go_at.is_some() =>
                {
                    let Ok(done) = timeout(PATIENCE, self.let_go()).await else {
                        return format!("no answer within {PATIENCE:?}");
                    };
                    done
                }
            };
            if let Err(error) = done {
                return told(&error);
            }
        }
    }

    /// Takes down what every worker is told.
    async fn hear_control(&mut self, payload: &[u8], heard: &Heard) -> lapin::Result<()> {
        if let Ok(Ring::Queued { requirement, .. }) = serde_json::from_slice(payload) {
            // somebody made this queue, or made it again after it was deleted, of which not every broker tells its consumers:
            // it is followed anew after the look that this asks for
            let queue = topology::queue_name(&requirement);
            self.followed.remove(&queue);
            if let Some(tag) = self.consumers.remove(&queue) {
                self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
            }
        }
        heard.add(payload);
        Ok(())
    }

    async fn take(&mut self, event: Event, heard: &Heard) -> lapin::Result<()> {
        match event {
            Event::Delivered(delivery) => {
                let delivery = (*delivery)?;
                if self.accepting {
                    self.offer(delivery, heard).await
                } else if self.let_go_at.is_some() {
                    self.in_hand.push(delivery);
                    Ok(())
                } else {
                    give_back(&delivery.acker).await
                }
            }
            Event::Ended(tag) => {
                if let Some(queue) =
                    self.consumers.iter().find(|(_, of)| **of == tag).map(|(queue, _)| queue.clone())
                {
                    // somebody deleted the queue, or its node went away: a look at the store follows it anew
                    self.consumers.remove(&queue);
                    self.followed.remove(&queue);
                    heard.add_wake(Wake::LookForWork);
                }
                Ok(())
            }
        }
    }

    async fn offer(&mut self, delivery: Delivery, heard: &Heard) -> lapin::Result<()> {
        if let Ok(Ring::Queued { execution, .. }) = serde_json::from_slice(&delivery.data) {
            let (orders, acker) = (self.orders.0.clone(), delivery.acker);
            heard.offer(Offer::new(execution, move |answer| {
                // when nobody listens any more, the broker offers it to others by itself
                let _ = orders.send(Order::Answer(acker, answer));
            }));
            return Ok(());
        }
        // of another version: whatever it says, the store knows
        heard.add_wake(Wake::Sweep);
        delivery.acker.ack(BasicAckOptions::default()).await.map(drop)
    }

    async fn follow_order(&mut self, order: Order, heard: &Heard) -> lapin::Result<()> {
        match order {
            Order::Follow(requirements) => {
                for queue in requirements.iter().map(topology::queue_name) {
                    if !self.followed.contains(&queue) {
                        topology::declare_queue(&self.channel, &queue).await?;
                        self.followed.insert(queue);
                    }
                }
            }
            Order::Accept(wanted) => {
                if self.accepting && !wanted {
                    self.let_go_at = Some(Instant::now() + LINGER);
                }
                self.accepting = wanted;
            }
            Order::Answer(acker, Answer::Decided) => {
                return acker.ack(BasicAckOptions::default()).await.map(drop);
            }
            Order::Answer(acker, Answer::GivenBack) => return give_back(&acker).await,
        }
        if self.accepting {
            self.let_go_at = None;
            for delivery in std::mem::take(&mut self.in_hand) {
                self.offer(delivery, heard).await?;
            }
            self.consume().await?;
        }
        Ok(())
    }

    /// Consumes from every queue that is followed.
    async fn consume(&mut self) -> lapin::Result<()> {
        for queue in &self.followed {
            if self.consumers.contains_key(queue) {
                continue;
            }
            self.consumed += 1;
            let tag = ShortString::from(format!("attune-{}", self.consumed));
            let options = BasicConsumeOptions::default();
            let consumer = self
                .channel
                .basic_consume(queue.clone(), tag.clone(), options, FieldTable::default())
                .await?;
            self.consumers.insert(queue.clone(), tag.clone());
            let ended = stream::once(async move { Event::Ended(tag) });
            self.offers
                .push(consumer.map(|delivery| Event::Delivered(Box::new(delivery))).chain(ended).boxed());
        }
        Ok(())
    }

    /// Consumes no more, and gives back what is in hand.
    async fn let_go(&mut self) -> lapin::Result<()> {
        self.let_go_at = None;
        for (_, tag) in std::mem::take(&mut self.consumers) {
            self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
        }
        for delivery in std::mem::take(&mut self.in_hand) {
            give_back(&delivery.acker).await?;
        }
        Ok(())
    }
}

async fn give_back(acker: &Acker) -> lapin::Result<()> {
    acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.map(drop)
}
