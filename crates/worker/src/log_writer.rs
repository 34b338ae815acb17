//! From the pipes into the store: what an action writes, in pieces, while it runs.

use std::{sync::Arc, time::Duration};

use attune_common::{
    model::LogStream,
    store::{Fence, NewLogChunk, Store, StoreError},
    timer,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    health::{Metrics, metrics::Operation},
    output::ResultBuffer,
    process::{self, EndReason, Output},
    redact::{RedactedStream, Redactor},
};

/// How long output waits for more before it is stored.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that are stored at once without waiting for more.
const FLUSH_BYTES: usize = 256 * 1024;

/// Largest piece, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes held while the store does not answer; then the action has to wait.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// Collects the output of one attempt. Secrets are taken out before anything else happens to it, except that the result
/// is read from what the action really wrote: a mask must not break a document.
pub struct LogWriter {
    store: Arc<dyn Store>,
    fence: Fence,
    end: watch::Sender<Option<EndReason>>,
    stdout: RedactedStream,
    stderr: RedactedStream,
    limit: u64,
    /// Bytes of output that the limit still allows; the worker's own remarks do not count.
    room: u64,
    offset: u64,
    dropped: u64,
    pending: Vec<NewLogChunk>,
    pending_bytes: usize,
    flush_at: Option<Instant>,
    result: ResultBuffer,
    metrics: Arc<Metrics>,
}

/// What is left when the output has ended.
#[derive(Debug)]
pub struct LogEnd {
    /// Pieces that are not stored yet: they go with the outcome.
    pub pending: Vec<NewLogChunk>,
    /// Bytes that the limit kept out; what counts is the output without its secrets.
    pub dropped: u64,
    /// What the result is read from.
    pub result: ResultBuffer,
}

impl LogWriter {
    /// A writer for an attempt. `limit` is the largest stored output in bytes; `end` is told when the lease is lost.
    pub fn new(
        store: Arc<dyn Store>,
        fence: Fence,
        end: watch::Sender<Option<EndReason>>,
        limit: u64,
        redactor: &Redactor,
        result: ResultBuffer,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut writer = Self {
            store,
            fence,
            end,
            stdout: redactor.stream(),
            stderr: redactor.stream(),
            limit,
            room: limit,
            offset: 0,
            dropped: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            flush_at: None,
            result,
            metrics,
        };
        if let Some(warning) = redactor.warning() {
            writer.add(LogStream::System, format!("[attune: {warning}]\n").as_bytes());
        }
        writer
    }

    /// Stores what comes until nothing comes any more.
    pub async fn collect(mut self, mut output: mpsc::Receiver<Output>) -> LogEnd {
        let mut end = self.end.subscribe();
        let mut lost = false;
        loop {
            let flush_at = self.flush_at;
            tokio::select! {
                biased;
                // a store that does not answer must not keep what somebody else may run from ending
                () = process::lease_lost(&mut end), if !lost => {
                    lost = true;
                    self.drop_all();
                }
                () = timer::at(flush_at) => self.flush().await,
                next = output.recv(), if self.pending_bytes < MAX_PENDING_BYTES => match next {
                    Some(piece) => self.take(piece),
                    None => break,
                },
            }
            if self.pending_bytes >= FLUSH_BYTES {
                self.flush().await;
            }
        }
        self.end()
    }

    fn take(&mut self, piece: Output) {
        let shown = match piece.stream {
            LogStream::Stdout => {
                self.result.push(&piece.data);
                self.stdout.push(piece.data)
            }
            LogStream::Stderr => self.stderr.push(piece.data),
            LogStream::System => piece.data,
        };
        self.keep(piece.stream, &shown);
    }

    /// Adds output as far as the limit allows.
    fn keep(&mut self, stream: LogStream, data: &[u8]) {
        let kept = usize::try_from(self.room).unwrap_or(usize::MAX).min(data.len());
        self.room -= kept as u64;
        self.dropped += (data.len() - kept) as u64;
        if kept > 0 {
            self.add(stream, &data[..kept]);
        }
    }

    fn add(&mut self, stream: LogStream, data: &[u8]) {
        match self.pending.last_mut() {
            Some(last) if last.stream == stream && last.data.len() + data.len() <= CHUNK_BYTES => {
                last.data.extend_from_slice(data);
            }
            _ => self.pending.push(NewLogChunk { offset: self.offset, stream, data: data.to_vec() }),
        }
        self.offset += data.len() as u64;
        self.pending_bytes += data.len();
        self.flush_at = self.flush_at.or_else(|| Some(Instant::now() + FLUSH_INTERVAL));
    }

    async fn flush(&mut self) {
        match self.store.append_log(self.fence, self.pending.clone()).await {
            Ok(()) => {
                self.metrics.log_stored(self.pending_bytes as u64);
                self.pending.clear();
                self.pending_bytes = 0;
                self.flush_at = None;
            }
            Err(StoreError::Fenced) => {
                self.end.send_replace(Some(EndReason::LeaseLost));
                self.drop_all();
            }
            Err(error) => {
                self.metrics.store_failed(Operation::Log);
                tracing::warn!(execution = %self.fence.execution, %error, "cannot store the log, trying again");
                self.flush_at = Some(Instant::now() + 10 * FLUSH_INTERVAL);
            }
        }
    }

    /// What comes is read, so that the process can end, and goes nowhere.
    fn drop_all(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.flush_at = None;
        self.room = 0;
    }

    fn end(mut self) -> LogEnd {
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        self.keep(LogStream::Stdout, &stdout);
        self.keep(LogStream::Stderr, &stderr);
        if self.dropped > 0 {
            let text = format!(
                "\n[attune: {} bytes of output were dropped: the log is limited to {} bytes]\n",
                self.dropped, self.limit
            );
            self.add(LogStream::System, text.as_bytes());
        }
        LogEnd { pending: self.pending, dropped: self.dropped, result: self.result }
    }
}
