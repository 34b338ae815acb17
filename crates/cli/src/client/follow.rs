//! The events of an execution, across broken connections.

use std::{pin::Pin, time::Duration};

use attune_api::views::FollowEvent;
use attune_common::model::ExecutionId;
use futures_util::{Stream, StreamExt};
use reqwest::header;
use sse_stream::{Sse, SseByteStream};

use super::{Client, ClientError, Result};

/// How often in a row a connection may fail before it is given up.
const MAX_FAILURES: u32 = 6;

/// Time before the first new try; it doubles with every further one.
const RETRY: Duration = Duration::from_millis(200);

type Events = Pin<Box<dyn Stream<Item = std::result::Result<Sse, sse_stream::Error>> + Send>>;

/// Follows one execution.
pub(crate) struct Follow {
    client: Client,
    id: ExecutionId,
    events: Option<Events>,
    last_id: Option<String>,
    failures: u32,
}

impl Follow {
    pub(super) fn new(client: Client, id: ExecutionId) -> Self {
        Self { client, id, events: None, last_id: None, failures: 0 }
    }

    /// The next event. Cancel-safe: dropping the future loses nothing.
    ///
    /// A connection that breaks is built up again, and goes on behind the last event.
    pub(crate) async fn next(&mut self) -> Result<FollowEvent> {
        loop {
            let failure = match self.try_next().await {
                Ok(Some(FollowEvent::Problem(problem))) => self.client.problem(problem),
                Ok(Some(event)) => {
                    self.failures = 0;
                    return Ok(event);
                }
                // a name that this version does not know
                Ok(None) => continue,
                Err(error) => error,
            };
            self.events = None;
            self.failures += 1;
            if self.failures >= MAX_FAILURES || !failure.is_transient() {
                return Err(failure);
            }
            tracing::debug!(%failure, execution = %self.id, "following again");
            tokio::time::sleep(RETRY * 2_u32.pow(self.failures - 1)).await;
        }
    }

    async fn try_next(&mut self) -> Result<Option<FollowEvent>> {
        let events = match &mut self.events {
            Some(events) => events,
            None => self.events.insert(self.connect().await?),
        };
        let event = match events.next().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Err(self.broken(&super::error::innermost(&error))),
            None => return Err(self.broken("the connection ended early")),
        };
        let parsed = FollowEvent::parse(
            event.event.as_deref().unwrap_or_default(),
            event.data.as_deref().unwrap_or_default(),
        );
        let parsed = parsed.map_err(|error| self.client.unreadable(&error.to_string()))?;
        // remembered only with the event in hand: what comes behind it is what is asked for next
        self.last_id = event.id.or_else(|| self.last_id.take());
        Ok(parsed)
    }

    async fn connect(&self) -> Result<Events> {
        let url = self.client.url(&["executions", &self.id.to_string(), "logs", "follow"]);
        let mut request = self.client.http.get(url).header(header::ACCEPT, "text/event-stream");
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let response = self.client.send(request).await?;
        Ok(Box::pin(SseByteStream::new(response.bytes_stream())))
    }

    fn broken(&self, reason: &str) -> ClientError {
        ClientError::Unreachable {
            url: self.client.base.to_string(),
            reason: reason.to_owned(),
            hint: self.client.hint.clone(),
        }
    }
}
