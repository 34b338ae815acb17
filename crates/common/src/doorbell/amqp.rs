//! The doorbell of RabbitMQ (<https://www.rabbitmq.com/docs>), in AMQP 0-9-1.
//!
//! Rings are published to the durable fanout exchange [`EXCHANGE`], and confirmed by the broker. A listener has a connection and
//! an exclusive queue of its own, bound to the exchange, which the broker deletes with the connection: what was rung while nobody
//! listened is found by the look at everything that follows listening. A delivery is done when it is heard, so that no
//! acknowledgement is ever awaited and the broker's `consumer_timeout` has nothing to count.

mod broker;
mod ringing;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use broker::Broker;
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer, ExchangeKind,
    options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use ringing::Ringing;
use secrecy::SecretString;

use self::broker::{PATIENCE, told};
use super::{
    Doorbell, DoorbellError, Listener, Ring,
    heard::{self, Heard},
};
use crate::config::MessageQueue;

/// The exchange to which everything is rung.
const EXCHANGE: &str = "attune.rings";

/// Rings that a listener may have pending at the broker: of any more, the oldest are dropped.
const MAX_PENDING: i32 = 1000;

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
        let payload = serde_json::to_vec(ring).map_err(|error| DoorbellError(error.to_string()))?;
        self.ringing.ring(&self.broker, &payload).await
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, DoorbellError> {
        let connection = self.broker.connect("attune listener").await?;
        let subscribed = tokio::time::timeout(PATIENCE, subscribe(&connection)).await;
        let consumer = subscribed
            .map_err(|_| self.broker.failed(&format!("no answer within {PATIENCE:?}")))?
            .map_err(|error| self.broker.failed(&told(&error)))?;
        Ok(heard::listener(self.sweep_interval, move |heard| hear(connection, consumer, heard)))
    }
}

/// Opens a channel on which the exchange is known to be there.
async fn open_channel(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Fanout, durable, FieldTable::default()).await?;
    Ok(channel)
}

async fn subscribe(connection: &Connection) -> lapin::Result<Consumer> {
    let channel = open_channel(connection).await?;
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let mut limit = FieldTable::default();
    limit.insert("x-max-length".into(), MAX_PENDING.into());
    let queue = channel.queue_declare(ShortString::default(), own, limit).await?;
    let name = queue.name().clone();
    channel
        .queue_bind(
            name.clone(),
            EXCHANGE.into(),
            ShortString::default(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let heard_is_done = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(name, ShortString::default(), heard_is_done, FieldTable::default()).await
}

/// Hears until the connection is lost, and returns why it is.
async fn hear(connection: Connection, mut consumer: Consumer, heard: Arc<Heard>) -> String {
    // closed when nobody listens any more
    let _connection = connection;
    while let Some(delivery) = consumer.next().await {
        match delivery {
            Ok(delivery) => heard.add(&delivery.data),
            Err(error) => return told(&error),
        }
    }
    "the broker ended the subscription".to_owned()
}
