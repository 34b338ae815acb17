//! The doorbell of RabbitMQ (<https://www.rabbitmq.com/docs>), in AMQP 0-9-1.
//!
//! A queued execution is a message in the queue of its requirement ([`topology`]), from which one of the workers that satisfy it
//! is offered the execution ([`subscription`]). Rings are confirmed by the broker ([`ringing`]). There is no outbox: what a
//! ring was lost for is found by the look at everything that every listener has from time to time, and rung for again by the API.

mod broker;
mod ringing;
mod subscription;
mod topology;

use std::time::Duration;

use async_trait::async_trait;
use broker::Broker;
use ringing::Ringing;
use secrecy::SecretString;
use tokio::sync::mpsc;

use self::{
    broker::{PATIENCE, told},
    subscription::{Order, Subscription},
};
use super::{Doorbell, DoorbellError, KeptRings, Listener, Ring, Wake, heard};
use crate::{config::MessageQueue, requirement::Requirement};

/// Messages through a broker.
#[derive(Debug)]
pub struct AmqpDoorbell {
    broker: Broker,
    ringing: Ringing,
    sweep_interval: Duration,
}

impl AmqpDoorbell {
    /// A doorbell at the broker of a URL, whose listeners look by themselves every `sweep_interval`.
    ///
    /// # Errors
    /// When the URL or the file of authorities cannot be used. The broker is not asked yet.
    pub fn new(
        url: &SecretString,
        configuration: &MessageQueue,
        sweep_interval: Duration,
    ) -> Result<Self, DoorbellError> {
        let broker = Broker::new(url, configuration.ca_file.as_deref())?;
        Ok(Self { broker, ringing: Ringing::default(), sweep_interval })
    }
}

#[async_trait]
impl Doorbell for AmqpDoorbell {
    async fn ring(&self, ring: &Ring) -> Result<(), DoorbellError> {
        self.ringing.ring(&self.broker, ring).await
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, DoorbellError> {
        let connection = self.broker.connect("attune listener").await?;
        let subscribed = tokio::time::timeout(PATIENCE, Subscription::new(connection)).await;
        let subscription = subscribed
            .map_err(|_| self.broker.failed(&format!("no answer within {PATIENCE:?}")))?
            .map_err(|error| self.broker.failed(&told(&error)))?;
        let orders = subscription.orders();
        let heard = heard::listener(self.sweep_interval, move |heard| subscription.hear(heard));
        Ok(Box::new(AmqpListener { heard, orders }))
    }

    fn kept_rings(&self) -> Option<&dyn KeptRings> {
        Some(self)
    }
}

#[async_trait]
impl KeptRings for AmqpDoorbell {
    async fn count(&self, requirement: &Requirement) -> Result<u32, DoorbellError> {
        self.ringing.kept(&self.broker, requirement).await
    }
}

struct AmqpListener {
    heard: Box<dyn Listener>,
    orders: mpsc::UnboundedSender<Order>,
}

impl AmqpListener {
    fn order(&self, order: Order) {
        // a subscription that has ended says so with the next wake-up
        let _ = self.orders.send(order);
    }
}

#[async_trait]
impl Listener for AmqpListener {
    async fn wake(&mut self) -> Result<Wake, DoorbellError> {
        self.heard.wake().await
    }

    fn offers(&self) -> bool {
        true
    }

    fn follow(&mut self, requirements: &[Requirement]) {
        self.order(Order::Follow(requirements.to_vec()));
    }

    fn accept(&mut self, wanted: bool) {
        self.order(Order::Accept(wanted));
    }
}
