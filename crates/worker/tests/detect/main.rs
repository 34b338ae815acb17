//! Detection against fake machines: trees of small programs that answer what real interpreters answer, run for real.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agent;
mod answers;
mod hints;
mod limits;
mod machines;
mod rejections;
mod tree;
