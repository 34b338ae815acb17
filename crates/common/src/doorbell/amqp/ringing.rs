//! The connection that rings: made when it is needed, kept, and made again after it was lost.
//!
//! Whoever rings answers a request, which must not wait for a broker that is away: every wait has an end, and after a
//! connection could not be made, rings fail at once until it is time for the next try.

use std::{sync::Arc, time::Duration};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    broker::{Broker, PATIENCE, told},
    topology::{self, CONTROL, EXECUTIONS, REPLY_SUCCESS},
};
use crate::{
    doorbell::{DoorbellError, Ring},
    requirement::Requirement,
    stagger::stagger,
};

/// Shortest and longest pause before a connection is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Rings, one connection for all of them.
#[derive(Debug, Default)]
pub(super) struct Ringing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    line: Option<Arc<Line>>,
    failure: Option<Failure>,
}

/// The last try, which failed.
#[derive(Debug)]
struct Failure {
    reason: DoorbellError,
    pause: Duration,
    next_try: Instant,
}

/// A connection, and the channel on which rings are published and confirmed.
#[derive(Debug)]
struct Line {
    connection: Connection,
    channel: Channel,
}

impl Ringing {
    /// Rings, and waits until the broker has confirmed it.
    pub(super) async fn ring(&self, broker: &Broker, ring: &Ring) -> Result<(), DoorbellError> {
        let work = |line: Arc<Line>| async move {
            match line.ring(ring).await {
                Ok(Confirmation::Nack(_)) => Err("it did not take the ring".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => Err(told(&error)),
            }
        };
        self.on_line(broker, "confirmation", work).await
    }

    /// How many rings wait in the queue of a requirement, if there is one.
    pub(super) async fn kept(
        &self,
        broker: &Broker,
        requirement: &Requirement,
    ) -> Result<u32, DoorbellError> {
        let work =
            |line: Arc<Line>| async move { line.kept(requirement).await.map_err(|error| told(&error)) };
        self.on_line(broker, "answer", work).await
    }

    /// Does something on the line, which is given up when that fails. `awaited` is what an error says is missing.
    async fn on_line<T, Work: Future<Output = Result<T, String>>>(
        &self,
        broker: &Broker,
        awaited: &str,
        work: impl FnOnce(Arc<Line>) -> Work,
    ) -> Result<T, DoorbellError> {
        let line = self.line(broker).await?;
        // it would go on when the broker has memory again, and says nothing until then
        if line.is_blocked() {
            return Err(broker.failed(BLOCKED));
        }
        let reason = match timeout(PATIENCE, work(line.clone())).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(reason)) => reason,
            Err(_) if line.is_blocked() => return Err(broker.failed(BLOCKED)),
            Err(_) => format!("no {awaited} within {PATIENCE:?}"),
        };
        self.give_up(&line).await;
        Err(broker.failed(&reason))
    }

    /// The line, made if there is none that works.
    async fn line(&self, broker: &Broker) -> Result<Arc<Line>, DoorbellError> {
        // held while connecting: everybody else would connect, too
        let mut state = self.state.lock().await;
        if let Some(line) = state.line.as_ref().filter(|line| line.works()) {
            return Ok(line.clone());
        }
        state.line = None;
        if let Some(Failure { reason, next_try, .. }) = &state.failure
            && Instant::now() < *next_try
        {
            return Err(reason.clone());
        }
        match Line::open(broker).await {
            Ok(line) => {
                let line = Arc::new(line);
                *state = State { line: Some(line.clone()), failure: None };
                Ok(line)
            }
            Err(reason) => {
                let pause = state.failure.as_ref().map_or(PAUSES.0, |last| (last.pause * 2).min(PAUSES.1));
                // drawn, so that not everybody comes at once when the broker is back
                let next_try = Instant::now() + stagger(pause);
                state.failure = Some(Failure { reason: reason.clone(), pause, next_try });
                Err(reason)
            }
        }
    }

    /// Takes no more rings to a line. Another one may have been made meanwhile.
    async fn give_up(&self, line: &Arc<Line>) {
        let mut state = self.state.lock().await;
        if state.line.as_ref().is_some_and(|current| Arc::ptr_eq(current, line)) {
            state.line = None;
        }
    }
}

/// Delivery modes (<https://www.rabbitmq.com/docs/publishers#message-properties>).
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// <https://www.rabbitmq.com/docs/connection-blocked>
const BLOCKED: &str = "it is short of memory or disk space and takes no messages; its log says which";

impl Line {
    async fn open(broker: &Broker) -> Result<Self, DoorbellError> {
        let connection = broker.connect("attune ringing").await?;
        let open = async {
            let channel = connection.create_channel().await?;
            topology::declare_exchanges(&channel).await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let channel = timeout(PATIENCE, open)
            .await
            .map_err(|_| broker.failed(&format!("no answer within {PATIENCE:?}")))?
            .map_err(|error: lapin::Error| broker.failed(&told(&error)))?;
        Ok(Self { connection, channel })
    }

    fn works(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    async fn ring(&self, ring: &Ring) -> lapin::Result<Confirmation> {
        let payload = serde_json::to_vec(ring).map_err(std::io::Error::other)?;
        let Ring::Queued { requirement, .. } = ring else {
            return self.publish(CONTROL, &ShortString::default(), &payload).await;
        };
        let queue = topology::queue_name(requirement);
        let confirmation = self.publish(EXECUTIONS, &queue, &payload).await?;
        if !matches!(confirmation, Confirmation::Ack(Some(_))) {
            return Ok(confirmation);
        }
        // returned: there is no such queue yet, or it has been deleted
        topology::declare_queue(&self.channel, &queue).await?;
        let confirmation = self.publish(EXECUTIONS, &queue, &payload).await?;
        // those who do not follow it, or followed the one before, look for what they could follow
        self.publish(CONTROL, &ShortString::default(), &payload).await?;
        Ok(confirmation)
    }

    async fn kept(&self, requirement: &Requirement) -> lapin::Result<u32> {
        // of its own: asking for a queue that is not there closes the channel
        let channel = self.connection.create_channel().await?;
        let waiting = topology::waiting_in(&channel, &topology::queue_name(requirement)).await?;
        if waiting.is_some() {
            channel.close(REPLY_SUCCESS, "asked".into()).await?;
        }
        Ok(waiting.unwrap_or(0))
    }

    /// Publishes, and waits for the broker to confirm it. What no queue takes comes back with the confirmation.
    async fn publish(
        &self,
        exchange: &str,
        key: &ShortString,
        payload: &[u8],
    ) -> lapin::Result<Confirmation> {
        // what goes to everybody does not outlive the broker: the queues of listeners do not either
        let to_a_queue = exchange == EXECUTIONS;
        let mode = if to_a_queue { PERSISTENT } else { TRANSIENT };
        let properties =
            BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(mode);
        let options = BasicPublishOptions { mandatory: to_a_queue, ..BasicPublishOptions::default() };
        self.channel.basic_publish(exchange.into(), key.clone(), options, payload, properties).await?.await
    }
}
