//! A listener's end of the broker: what every worker is told, and the executions that this one is offered.
//!
//! Offers come one at a time from every queue followed (`basic.qos` 1), and only while they are wanted. Every queue has a channel
//! of its own: a queue that was deleted and made again is followed anew on another one, because RabbitMQ 3.10 confuses both on the
//! channel that knew the first, and delivers nothing.
//!
//! The connection and all that is consumed belong to one task; a listener sends it [`Order`]s. A delivery is acknowledged when the
//! store has decided who runs the execution, and never held as long as it runs, so that the broker's `consumer_timeout` has
//! nothing to count.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

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
    topology::{self, REPLY_SUCCESS},
};
use crate::{
    doorbell::{
        Ring, Wake,
        heard::Heard,
        offer::{Answer, Offer},
    },
    requirement::Requirement,
    timer,
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
    /// For the consumer of this tag.
    Delivered(ShortString, Box<lapin::Result<Delivery>>),
    /// The consumer of this tag gets nothing more.
    Ended(ShortString),
}

/// How far a subscription has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It hears what every worker is told.
    Connected,
    /// It was told what to follow, and the queues are there.
    Following,
    /// It consumes from them, unless no offers are wanted; whoever listens knows it by the first wake.
    Settled,
}

type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A connection that listens.
pub(super) struct Subscription {
    // closed when nobody listens any more
    connection: Connection,
    control: Consumer,
    /// The channel of each queue that is followed.
    followed: BTreeMap<ShortString, Channel>,
    standing: Standing,
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
        Ok(Self {
            connection,
            control,
            followed: BTreeMap::new(),
            standing: Standing::Connected,
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
                    Some(Ok(delivery)) => {
                        self.hear_control(&delivery.data, &heard);
                        Ok(())
                    }
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
                () = timer::at(let_go_at) => {
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
    fn hear_control(&mut self, payload: &[u8], heard: &Heard) {
        if let Ok(Ring::Queued { requirement, .. }) = serde_json::from_slice(payload) {
            // somebody made this queue, perhaps again after it was deleted, of which not every broker tells its consumers: it is
            // followed anew after the look that this asks for
            self.forget(&topology::queue_name(&requirement));
        }
        heard.add(payload);
    }

    /// Follows a queue no more. What was delivered and not answered goes back to it.
    fn forget(&mut self, queue: &ShortString) {
        self.consumers.remove(queue);
        if let Some(channel) = self.followed.remove(queue) {
            tokio::spawn(async move {
                // one that the broker has closed is what is wanted
                let _ = channel.close(REPLY_SUCCESS, "followed no more".into()).await;
            });
        }
    }

    async fn take(&mut self, event: Event, heard: &Heard) -> lapin::Result<()> {
        match event {
            Event::Delivered(tag, delivery) => {
                let delivery = match *delivery {
                    Ok(delivery) => delivery,
                    // its channel was closed
                    Err(_) if !self.consumers.values().any(|of| *of == tag) => return Ok(()),
                    Err(error) => return Err(error),
                };
                if self.accepting {
                    self.offer(delivery, heard).await
                } else if self.let_go_at.is_some() {
                    self.in_hand.push(delivery);
                    Ok(())
                } else {
                    self.answer(&delivery.acker, Answer::GivenBack).await
                }
            }
            Event::Ended(tag) => {
                if let Some(queue) =
                    self.consumers.iter().find(|(_, of)| **of == tag).map(|(queue, _)| queue.clone())
                {
                    // somebody deleted the queue, or its node went away: a look at the store follows it anew
                    self.forget(&queue);
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
        self.answer(&delivery.acker, Answer::Decided).await
    }

    async fn follow_order(&mut self, order: Order, heard: &Heard) -> lapin::Result<()> {
        let last_of_a_look = matches!(order, Order::Accept(_));
        match order {
            Order::Follow(requirements) => {
                for queue in requirements.iter().map(topology::queue_name) {
                    if !self.followed.contains_key(&queue) {
                        let channel = self.connection.create_channel().await?;
                        channel.basic_qos(1, BasicQosOptions::default()).await?;
                        topology::declare_queue(&channel, &queue).await?;
                        self.followed.insert(queue, channel);
                    }
                }
                if self.standing == Standing::Connected {
                    self.standing = Standing::Following;
                }
            }
            Order::Accept(wanted) => {
                if self.accepting && !wanted {
                    self.let_go_at = Some(Instant::now() + LINGER);
                }
                self.accepting = wanted;
            }
            Order::Answer(acker, answer) => return self.answer(&acker, answer).await,
        }
        if self.accepting {
            self.let_go_at = None;
            for delivery in std::mem::take(&mut self.in_hand) {
                self.offer(delivery, heard).await?;
            }
            self.consume().await?;
        }
        if last_of_a_look && self.standing == Standing::Following {
            // the broker has refused nothing; there may also be a queue that was made after it was looked for
            self.standing = Standing::Settled;
            heard.add_wake(Wake::LookForWork);
        }
        Ok(())
    }

    /// Consumes from every queue that is followed.
    async fn consume(&mut self) -> lapin::Result<()> {
        for (queue, channel) in &self.followed {
            if self.consumers.contains_key(queue) {
                continue;
            }
            self.consumed += 1;
            let tag = ShortString::from(format!("attune-{}", self.consumed));
            let options = BasicConsumeOptions::default();
            let consumer =
                channel.basic_consume(queue.clone(), tag.clone(), options, FieldTable::default()).await?;
            self.consumers.insert(queue.clone(), tag.clone());
            let of = tag.clone();
            let delivered = consumer.map(move |delivery| Event::Delivered(of.clone(), Box::new(delivery)));
            let ended = stream::once(async move { Event::Ended(tag) });
            self.offers.push(delivered.chain(ended).boxed());
        }
        Ok(())
    }

    /// Consumes no more, and gives back what is in hand.
    async fn let_go(&mut self) -> lapin::Result<()> {
        self.let_go_at = None;
        for (queue, tag) in std::mem::take(&mut self.consumers) {
            if let Some(channel) = self.followed.get(&queue) {
                channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
            }
        }
        for delivery in std::mem::take(&mut self.in_hand) {
            self.answer(&delivery.acker, Answer::GivenBack).await?;
        }
        Ok(())
    }

    /// Tells the broker what became of a delivery.
    async fn answer(&mut self, acker: &Acker, answer: Answer) -> lapin::Result<()> {
        let told = match answer {
            Answer::Decided => acker.ack(BasicAckOptions::default()).await,
            Answer::GivenBack => {
                acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await
            }
        };
        match told {
            // the channel was closed meanwhile: the broker offers it again, and the store knows what became of it
            Err(_) if self.connection.status().connected() => Ok(()),
            told => told.map(drop),
        }
    }
}
