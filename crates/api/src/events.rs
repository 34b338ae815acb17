//! Following an execution: its log and its changes as server-sent events, until it ends.

use std::{convert::Infallible, fmt, str::FromStr, time::Duration};

use attune_common::{
    model::{Execution, ExecutionId, ExecutionStatus},
    store::StoreError,
};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    problem::{Kind, Problem},
    state::ApiState,
    views::{AttemptEvent, ExecutionSummary, FollowEvent, StatusEvent},
};

/// Shortest and longest time between two looks at the store; it grows while nothing happens.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// Time between comments that keep proxies from closing a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Most bytes of log that are read at once.
const READ_BYTES: u64 = 256 * 1024;

/// Events that may wait for a slow client before reading stops.
const BACKLOG: usize = 16;

/// A place in the logs of an execution: what an event's id says, so that a client can go on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Number of the attempt; 0 before the first.
    pub(crate) attempt: u32,
    /// Byte of that attempt's log.
    pub(crate) offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.attempt, self.offset)
    }
}

impl FromStr for Position {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        text.split_once(':')
            .and_then(|(attempt, offset)| {
                Some(Self { attempt: attempt.parse().ok()?, offset: offset.parse().ok()? })
            })
            .ok_or_else(|| {
                Problem::new(
                    Kind::MalformedRequest,
                    "header 'last-event-id' is not an id of this stream; ATTEMPT:OFFSET is expected, such as 1:4096",
                )
            })
    }
}

/// The events of an execution from a position on. `announce` tells the first attempt too, not only later ones.
pub(crate) fn follow(
    state: ApiState,
    id: ExecutionId,
    from: Position,
    announce: bool,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (events, received) = mpsc::channel(BACKLOG);
    let follower = Follower { state, id, position: from, events, last: None };
    tokio::spawn(follower.run(announce));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(ReceiverStream::new(received)).keep_alive(keep_alive)
}

/// Why following ends before the execution does.
enum Stop {
    /// Nobody listens any more.
    Gone,
    /// The store failed, or the execution vanished.
    Problem(Problem),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

struct Follower {
    state: ApiState,
    id: ExecutionId,
    position: Position,
    events: mpsc::Sender<Result<Event, Infallible>>,
    last: Option<StatusEvent>,
}

impl Follower {
    async fn run(mut self, announce: bool) {
        let stopping = self.state.stopping.clone();
        let gone = self.events.clone();
        tokio::select! {
            // the client comes back with the last id and finds the next server
            () = stopping.cancelled() => {}
            () = gone.closed() => {}
            result = self.follow(announce) => if let Err(Stop::Problem(problem)) = result {
                // an error means that nobody listens any more
                let _ = self.send(FollowEvent::Problem(problem.into_document())).await;
            },
        }
    }

    async fn follow(&mut self, announce: bool) -> Result<(), Stop> {
        if announce && self.position.attempt > 0 {
            self.send(FollowEvent::Attempt(AttemptEvent { attempt: self.position.attempt })).await?;
        }
        let mut pause = POLL.0;
        loop {
            // read before its log: an execution seen to have ended has its whole log in the store
            let execution = self.execution().await?;
            let news = self.tell(&execution).await?;
            if execution.status.is_final() {
                let view = self.state.view(&execution).await?;
                return self.send(FollowEvent::End(Box::new(view))).await;
            }
            pause = if news { POLL.0 } else { (pause * 2).min(POLL.1) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells everything that is new, in the order in which it happened. Returns whether anything was.
    async fn tell(&mut self, execution: &Execution) -> Result<bool, Stop> {
        let mut news = false;
        loop {
            // that an attempt runs is told before what it writes, every other status behind it
            if self.position.attempt == execution.attempt && execution.status == ExecutionStatus::Running {
                news |= self.tell_status(execution).await?;
            }
            if self.position.attempt > 0 {
                news |= self.tell_log().await?;
            }
            if self.position.attempt >= execution.attempt {
                return Ok(self.tell_status(execution).await? || news);
            }
            news = true;
            self.position = Position { attempt: self.position.attempt + 1, offset: 0 };
            self.send(FollowEvent::Attempt(AttemptEvent { attempt: self.position.attempt })).await?;
        }
    }

    async fn tell_log(&mut self) -> Result<bool, Stop> {
        let mut news = false;
        loop {
            let Position { attempt, offset } = self.position;
            let chunks = self.state.store.read_log(self.id, attempt, offset, READ_BYTES).await?;
            if chunks.is_empty() {
                return Ok(news);
            }
            for chunk in chunks {
                self.position.offset = chunk.end();
                self.send(FollowEvent::Log(chunk.into())).await?;
            }
            news = true;
        }
    }

    async fn tell_status(&mut self, execution: &Execution) -> Result<bool, Stop> {
        let workers = match execution.status {
            ExecutionStatus::Queued => self.state.store.workers().await?,
            _ => Vec::new(),
        };
        let view = ExecutionSummary::from_model(execution, &workers);
        let event = StatusEvent {
            status: view.status,
            attempt: view.attempt,
            worker: view.worker,
            waiting_for: view.waiting_for,
        };
        if self.last.as_ref() == Some(&event) {
            return Ok(false);
        }
        self.last = Some(event.clone());
        self.send(FollowEvent::Status(event)).await?;
        Ok(true)
    }

    async fn execution(&self) -> Result<Execution, Stop> {
        let found = self.state.store.execution(self.id).await?;
        found.ok_or_else(|| Stop::from(StoreError::NotFound(format!("execution {}", self.id))))
    }

    async fn send(&self, event: FollowEvent) -> Result<(), Stop> {
        let data = event.data().map_err(|error| {
            tracing::error!(%error, execution = %self.id, "cannot write an event");
            Stop::Gone
        })?;
        let mut written = Event::default().event(event.name()).data(data);
        if let FollowEvent::Log(_) | FollowEvent::Attempt(_) = event {
            written = written.id(self.position.to_string());
        }
        self.events.send(Ok(written)).await.map_err(|_| Stop::Gone)
    }
}
