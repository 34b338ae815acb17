//! Replacing secrets in bytes that come in pieces.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use aho_corasick::automaton::StateID;
use attune_common::model::Parameters;

use super::matcher::Matcher;

/// One stream of bytes on its way into the log. Positions count all bytes that came in.
///
/// Bytes are held back only while they are the beginning of something secret, and never more than 63 of them: a prompt
/// without a line end is shown at once. Secrets that overlap or touch each other become one mask.
pub struct RedactedStream(Option<Search>);

struct Search {
    matcher: Arc<Matcher>,
    state: StateID,
    /// Bytes that came in and did not go out yet.
    held: Vec<u8>,
    /// Position of the first of them.
    position: u64,
    /// Where secrets are that did not go out yet, in order and apart from each other.
    secret: VecDeque<Range<u64>>,
    /// Position behind the last secret that went out as a mask.
    masked_to: Option<u64>,
}

impl RedactedStream {
    pub(super) fn new(matcher: Option<Arc<Matcher>>) -> Self {
        Self(matcher.map(|matcher| Search {
            state: matcher.start(),
            matcher,
            held: Vec::new(),
            position: 0,
            secret: VecDeque::new(),
            masked_to: None,
        }))
    }

    /// Takes the next bytes and gives what can be shown now.
    #[must_use]
    pub fn push(&mut self, data: Vec<u8>) -> Vec<u8> {
        match &mut self.0 {
            Some(search) => search.push(data),
            None => data,
        }
    }

    /// Gives what was held back: the stream has ended.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        self.0.as_mut().map(|search| search.release(search.held.len())).unwrap_or_default()
    }
}

impl Search {
    fn push(&mut self, data: Vec<u8>) -> Vec<u8> {
        let start = self.position + self.held.len() as u64;
        let secret = &mut self.secret;
        self.state = self.matcher.scan(self.state, &data, |end, length| {
            let end = start + end as u64;
            add(secret, end - length as u64..end);
        });
        if self.held.is_empty() {
            self.held = data;
        } else {
            self.held.extend_from_slice(&data);
        }
        let undecided = self.matcher.undecided(&self.held);
        self.release(self.held.len() - undecided)
    }

    /// Lets the first `length` held bytes go. No secret that is still to be found begins in them.
    fn release(&mut self, length: usize) -> Vec<u8> {
        let kept = self.held.split_off(length);
        let going = std::mem::replace(&mut self.held, kept);
        let start = self.position;
        let end = start + length as u64;
        self.position = end;
        if self.secret.is_empty() && self.masked_to.is_none_or(|to| to <= start) {
            return going;
        }
        let mut shown = Vec::with_capacity(going.len());
        let mut at = self.masked_to.map_or(start, |to| to.clamp(start, end));
        while let Some(secret) = self.secret.pop_front_if(|secret| secret.start < end) {
            if secret.start > at {
                shown.extend_from_slice(&going[(at - start) as usize..(secret.start - start) as usize]);
            }
            if self.masked_to.is_none_or(|to| to < secret.start) {
                shown.extend_from_slice(Parameters::MASK.as_bytes());
            }
            at = secret.end.clamp(at, end);
            self.masked_to = self.masked_to.max(Some(secret.end));
        }
        shown.extend_from_slice(&going[(at - start) as usize..]);
        shown
    }
}

/// Adds a secret that ends behind, or where, all others end.
fn add(secrets: &mut VecDeque<Range<u64>>, mut secret: Range<u64>) {
    while let Some(before) = secrets.pop_back_if(|before| before.end >= secret.start) {
        secret.start = secret.start.min(before.start);
    }
    secrets.push_back(secret);
}
