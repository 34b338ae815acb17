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
    EXCHANGE,
    broker::{Broker, PATIENCE, told},
    open_channel,
};
use crate::doorbell::DoorbellError;

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
    pub(super) async fn ring(&self, broker: &Broker, payload: &[u8]) -> Result<(), DoorbellError> {
        let line = self.line(broker).await?;
        // it would take the ring when it has memory again, and says nothing until then
        if line.is_blocked() {
            return Err(broker.failed(BLOCKED));
        }
        let reason = match timeout(PATIENCE, line.publish(payload)).await {
            Ok(Ok(Confirmation::Nack(_))) => "it did not take the ring".to_owned(),
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => told(&error),
            Err(_) if line.is_blocked() => return Err(broker.failed(BLOCKED)),
            Err(_) => format!("no confirmation within {PATIENCE:?}"),
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
                let next_try = Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0);
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

/// <https://www.rabbitmq.com/docs/connection-blocked>
const BLOCKED: &str = "it is short of memory or disk space and takes no messages; its log says which";

impl Line {
    async fn open(broker: &Broker) -> Result<Self, DoorbellError> {
        let connection = broker.connect("attune ringing").await?;
        let open = async {
            let channel = open_channel(&connection).await?;
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

    async fn publish(&self, payload: &[u8]) -> lapin::Result<Confirmation> {
        // not persistent: the queues of listeners do not outlive the broker either
        let properties = BasicProperties::default().with_content_type("application/json".into());
        let options = BasicPublishOptions::default();
        self.channel
            .basic_publish(EXCHANGE.into(), ShortString::default(), options, payload, properties)
            .await?
            .await
    }
}
