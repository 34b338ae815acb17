//! Following one execution to its end: what it writes is passed on, and Ctrl-C asks for its end.

use attune_api::views::{ExecutionView, FollowEvent, StatusEvent};
use attune_common::model::{ExecutionId, ExecutionStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{client::Client, output::Output, progress::Progress};

/// Hears Ctrl-C, and SIGTERM, which asks for the same.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Starts to listen; from now on Ctrl-C no longer ends the program by itself.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// How following ended.
pub(crate) enum Followed {
    /// The execution ended.
    Ended(Box<ExecutionView>),
    /// Somebody would not wait for its end.
    Left,
}

/// Follows an execution. The first interrupt asks for its end, the second leaves it alone.
pub(crate) async fn to_the_end(
    client: &Client,
    output: &mut Output,
    interrupts: &mut Interrupts,
    id: ExecutionId,
) -> anyhow::Result<Followed> {
    let mut events = client.follow(id);
    let mut progress = Progress::new(output.is_watched());
    let mut warned = false;
    let mut interrupted = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            () = interrupts.next() => {
                progress.clear();
                if interrupted {
                    output.note(&format!("left alone; 'attune logs -f {id}' goes on following it"));
                    return Ok(Followed::Left);
                }
                interrupted = true;
                output.note("asking for its end; Ctrl-C again leaves it alone");
                client.cancel(id).await?;
                continue;
            }
        };
        match event {
            FollowEvent::Attempt(started) if started.attempt > 1 => {
                progress.clear();
                output.warn(&format!("its worker was lost; this is attempt {}", started.attempt));
            }
            FollowEvent::Status(status) => {
                if let Some(reason) = &status.waiting_for
                    && !std::mem::replace(&mut warned, true)
                {
                    progress.clear();
                    output.warn(&format!("{reason} yet; it waits (see 'attune requirements')"));
                }
                progress.say(&what_goes_on(&status));
            }
            FollowEvent::Log(chunk) => {
                progress.clear();
                let stream = chunk.stream;
                output.raw(stream, &chunk.into_bytes()?)?;
            }
            FollowEvent::End(execution) => {
                progress.clear();
                output.end_raw();
                return Ok(Followed::Ended(execution));
            }
            // problems have become errors already
            FollowEvent::Attempt(_) | FollowEvent::Problem(_) => {}
        }
    }
}

fn what_goes_on(status: &StatusEvent) -> String {
    match (status.status, &status.worker) {
        (ExecutionStatus::Running, Some(worker)) => format!("running on {worker}"),
        (status, _) => status.as_str().to_owned(),
    }
}
