//! What installers say, as part of an execution's log.

use std::{borrow::Cow, collections::VecDeque, sync::LazyLock};

use attune_common::model::LogStream;
use regex::Regex;
use tokio::sync::mpsc;

use crate::process::Output;

/// What every line starts with, so that nobody takes it for a line of the action.
const PREFIX: &str = "[environment] ";

/// Lines that an error repeats.
const LAST_LINES: usize = 8;

/// Longest line, in bytes; what is longer goes on in the next one.
const MAX_LINE_BYTES: usize = 4096;

/// Longest line of an error, in characters.
const MAX_WORDS: usize = 300;

/// Relays lines and remembers the last ones.
pub(super) struct InstallerLog {
    output: mpsc::Sender<Output>,
    last: VecDeque<String>,
}

/// A remark of the worker itself.
pub(super) fn remark(text: &str) -> Output {
    Output { stream: LogStream::System, data: format!("{PREFIX}{text}\n").into_bytes() }
}

impl InstallerLog {
    /// A log that goes to `output`.
    pub(super) fn new(output: mpsc::Sender<Output>) -> Self {
        Self { output, last: VecDeque::new() }
    }

    /// Adds a line of the worker.
    pub(super) async fn remark(&self, text: &str) {
        // whoever no longer listens misses nothing
        let _ = self.output.send(remark(text)).await;
    }

    /// Relays a process's output until it ends.
    pub(super) async fn relay(&mut self, mut from: mpsc::Receiver<Output>) {
        self.last.clear();
        let mut unfinished: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
        while let Some(piece) = from.recv().await {
            let buffer = &mut unfinished[usize::from(piece.stream == LogStream::Stderr)];
            buffer.extend(piece.data);
            let mut lines = Vec::new();
            while let Some(end) = end_of_line(buffer) {
                lines.push(buffer.drain(..end).collect::<Vec<u8>>());
            }
            for line in lines {
                self.line(&line).await;
            }
        }
        for rest in unfinished.iter().filter(|rest| !rest.is_empty()) {
            self.line(rest).await;
        }
    }

    async fn line(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        // progress bars overwrite their own line
        let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if text.trim().is_empty() {
            return;
        }
        let text = without_credentials(text);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(text.chars().take(MAX_WORDS).collect());
        self.remark(&text).await;
    }

    /// What the last process said at its end, to be added to an error.
    pub(super) fn last_words(&self) -> String {
        if self.last.is_empty() {
            return ", and said nothing".to_owned();
        }
        self.last.iter().fold("; its last words:".to_owned(), |words, line| words + "\n  " + line)
    }
}

/// Where the first line ends, its line feed included.
fn end_of_line(buffer: &[u8]) -> Option<usize> {
    let feed = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    feed.filter(|end| *end <= MAX_LINE_BYTES).or((buffer.len() >= MAX_LINE_BYTES).then_some(MAX_LINE_BYTES))
}

/// The addresses of package indexes may hold a name and a password (RFC 3986, section 3.2.1), and installers repeat them.
fn without_credentials(line: &str) -> Cow<'_, str> {
    static USER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(://)[^/\s@]+@").expect("the pattern is valid"));
    USER.replace_all(line, "${1}***@")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the log holds after a process wrote these pieces, and what an error says.
    async fn logged(pieces: &[(LogStream, &[u8])]) -> (String, String) {
        let (sender, mut receiver) = mpsc::channel(1);
        let (pipe, output) = mpsc::channel(1);
        let relay = tokio::spawn(async move {
            let mut log = InstallerLog::new(sender);
            log.relay(output).await;
            log.last_words()
        });
        let pieces: Vec<(LogStream, Vec<u8>)> =
            pieces.iter().map(|(stream, data)| (*stream, data.to_vec())).collect();
        let write = tokio::spawn(async move {
            for (stream, data) in pieces {
                pipe.send(Output { stream, data }).await.unwrap();
            }
        });
        let mut text = Vec::new();
        while let Some(piece) = receiver.recv().await {
            assert_eq!(piece.stream, LogStream::System);
            text.extend(piece.data);
        }
        write.await.unwrap();
        (String::from_utf8(text).unwrap(), relay.await.unwrap())
    }

    #[tokio::test]
    async fn lines_are_whole_marked_and_without_passwords() {
        use LogStream::{Stderr, Stdout};
        let (log, words) = logged(&[
            (Stdout, b"Looking in https://me:s3cret@pypi.example/simple and "),
            (Stderr, b"warning: old\n"),
            (Stdout, b"ftp://x@y\n 10%\r 50%\rdone\r\n\n"),
            (Stdout, b"\xff end"),
        ])
        .await;
        insta::assert_snapshot!(log, @"
        [environment] warning: old
        [environment] Looking in https://***@pypi.example/simple and ftp://***@y
        [environment] done
        [environment] � end
        ");
        insta::assert_snapshot!(words, @"
        ; its last words:
          warning: old
          Looking in https://***@pypi.example/simple and ftp://***@y
          done
          � end
        ");
    }

    #[tokio::test]
    async fn a_line_without_end_takes_no_memory_and_an_error_repeats_little() {
        let zeros = vec![b'0'; 1_000_000];
        let (log, words) = logged(&[(LogStream::Stdout, &zeros)]).await;
        assert_eq!(log.lines().count(), 1_000_000_usize.div_ceil(MAX_LINE_BYTES));
        assert!(words.len() < LAST_LINES * (MAX_WORDS + 4) + 30);
        let silent = logged(&[]).await;
        assert_eq!(silent, (String::new(), ", and said nothing".to_owned()));
    }
}
