//! Reading both output streams of a process without ever holding more than a few buffers.

use std::time::Duration;

use attune_common::model::LogStream;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
    sync::mpsc,
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Most bytes read at once: the size of a pipe (pipe(7)).
const READ_BYTES: usize = 64 * 1024;

/// How long output may still come after the process has ended: whoever holds the pipes then is none of our business.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How long a pipe may be silent after the process has ended before it is closed.
const IDLE_LIMIT: Duration = Duration::from_millis(500);

/// Something that the process wrote.
#[derive(Debug)]
pub struct Output {
    /// Where it was written.
    pub stream: LogStream,
    /// What was written.
    pub data: Vec<u8>,
}

/// Why reading a pipe has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PipeEnd {
    /// Every writer has closed it.
    Closed,
    /// It was silent for too long after the process had ended, or somebody else went on writing.
    Abandoned,
}

/// The tasks that read.
pub(super) struct Readers(JoinSet<PipeEnd>);

/// Starts reading both streams. `exited` says that the process itself has ended.
pub(super) fn start(child: &mut Child, output: &mpsc::Sender<Output>, exited: &CancellationToken) -> Readers {
    let mut tasks = JoinSet::new();
    if let Some(pipe) = child.stdout.take() {
        tasks.spawn(read(pipe, LogStream::Stdout, output.clone(), exited.clone()));
    }
    if let Some(pipe) = child.stderr.take() {
        tasks.spawn(read(pipe, LogStream::Stderr, output.clone(), exited.clone()));
    }
    Readers(tasks)
}

impl Readers {
    /// Waits until both pipes are closed or abandoned, and what was read is taken, however long that takes. Returns whether both
    /// were closed.
    pub(super) async fn finish(mut self) -> bool {
        let mut closed = true;
        while let Some(one) = self.0.join_next().await {
            closed &= one.is_ok_and(|end| end == PipeEnd::Closed);
        }
        closed
    }
}

async fn read(
    mut pipe: impl AsyncRead + Unpin,
    stream: LogStream,
    output: mpsc::Sender<Output>,
    exited: CancellationToken,
) -> PipeEnd {
    let mut buffer = vec![0; READ_BYTES];
    let mut deadline = None;
    // what a pipe holds when the time is up was written in time
    let mut late = 0;
    loop {
        let silent = async {
            exited.cancelled().await;
            tokio::time::sleep(IDLE_LIMIT).await;
        };
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => read,
            () = silent => return PipeEnd::Abandoned,
        };
        match read {
            Ok(0) | Err(_) => return PipeEnd::Closed,
            Ok(length) => {
                if exited.is_cancelled()
                    && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + DRAIN_LIMIT)
                {
                    late += length;
                    if late > READ_BYTES {
                        return PipeEnd::Abandoned;
                    }
                }
                // a receiver that is gone wants no more; the pipe is read on, or the process would wait
                let _ = output.send(Output { stream, data: buffer[..length].to_vec() }).await;
            }
        }
    }
}
