//! Finding many byte strings at once, in data that comes in pieces.

use std::collections::BTreeSet;

use aho_corasick::{
    Anchored, BuildError, MatchKind,
    automaton::{Automaton, StateID},
    nfa::contiguous::NFA,
};

/// Longest byte string that is searched, and so the most that is ever held back. A longer one is searched in pieces of
/// this length, of which the last may overlap the one before: where all of them are, all of it is.
pub(super) const PIECE_BYTES: usize = 64;

/// What is searched.
pub(super) struct Matcher {
    automaton: NFA,
    start: StateID,
    /// Sorted, to find those with a certain beginning.
    patterns: Vec<Vec<u8>>,
    beginnings: Beginnings,
}

/// Which three bytes in a row may be the beginning of a pattern: a bit for each hash of them.
struct Beginnings(Vec<u64>);

impl Matcher {
    /// Searches these byte strings, none of which has less than three bytes.
    pub(super) fn new(patterns: BTreeSet<Vec<u8>>) -> Result<Self, BuildError> {
        let patterns: Vec<Vec<u8>> = patterns.into_iter().collect();
        let automaton = NFA::builder().match_kind(MatchKind::Standard).prefilter(false).build(&patterns)?;
        let start = automaton.start_state(Anchored::No).expect("it can start anywhere");
        let beginnings = Beginnings::new(&patterns);
        Ok(Self { automaton, start, patterns, beginnings })
    }

    /// The state in which a search begins.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// Goes on from `state` and tells for every place in `data` where patterns end: the place, and the length of the
    /// longest of them, which may have begun in earlier data.
    ///
    /// The crate's own searches either skip overlapping matches or want all data at once, hence this one.
    pub(super) fn scan(
        &self,
        mut state: StateID,
        data: &[u8],
        mut found: impl FnMut(usize, usize),
    ) -> StateID {
        let automaton = &self.automaton;
        let mut at = 0;
        while at < data.len() {
            if state == self.start {
                // most bytes begin nothing, and to see that is several times faster than a step of the automaton
                at += self.beginnings.first_in(&data[at..]);
            }
            state = automaton.next_state(Anchored::No, state, data[at]);
            at += 1;
            if automaton.is_match(state) {
                let matches = 0..automaton.match_len(state);
                let lengths = matches.map(|n| automaton.pattern_len(automaton.match_pattern(state, n)));
                found(at, lengths.max().unwrap_or(0));
            }
        }
        state
    }

    /// Whether any pattern is in `data`.
    pub(super) fn finds(&self, data: &[u8]) -> bool {
        let mut any = false;
        self.scan(self.start, data, |_, _| any = true);
        any
    }

    /// Length of the longest end of `data` with which a pattern begins and goes on.
    pub(super) fn undecided(&self, data: &[u8]) -> usize {
        let goes_on = |length: &usize| {
            let end = &data[data.len() - length..];
            let next = self.patterns.partition_point(|pattern| pattern.as_slice() <= end);
            self.patterns.get(next).is_some_and(|pattern| pattern.starts_with(end))
        };
        (1..PIECE_BYTES.min(data.len() + 1)).rev().find(goes_on).unwrap_or(0)
    }
}

/// Cuts what is too long.
pub(super) fn pieces(strings: BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>> {
    let mut pieces = BTreeSet::new();
    for string in strings {
        if string.len() <= PIECE_BYTES {
            pieces.insert(string);
        } else {
            pieces.extend(string.chunks_exact(PIECE_BYTES).map(<[u8]>::to_vec));
            pieces.insert(string[string.len() - PIECE_BYTES..].to_vec());
        }
    }
    pieces
}

impl Beginnings {
    const BITS: u32 = 16;

    fn new(patterns: &[Vec<u8>]) -> Self {
        let mut bits = vec![0; (1 << Self::BITS) / 64];
        for pattern in patterns {
            let hash = Self::hash(pattern);
            bits[hash / 64] |= 1 << (hash % 64);
        }
        Self(bits)
    }

    /// Multiplicative hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4) of the first three bytes.
    fn hash(bytes: &[u8]) -> usize {
        let number = u32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]]);
        (number.wrapping_mul(0x9e37_79b1) >> (32 - Self::BITS)) as usize
    }

    /// Where the first of them is in `data`; else its last two bytes, which the next data may complete.
    fn first_in(&self, data: &[u8]) -> usize {
        let begins = |three: &[u8]| {
            let hash = Self::hash(three);
            self.0[hash / 64] & (1 << (hash % 64)) != 0
        };
        data.windows(3).position(begins).unwrap_or(data.len().saturating_sub(2))
    }
}
