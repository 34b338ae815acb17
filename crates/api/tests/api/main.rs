//! The API as its clients see it: a real server on a loopback port, over a real SQLite store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod artifacts;
mod authentication;
mod document;
mod executions;
mod following;
mod lifecycle;
mod logs;
mod packs;
mod problems;
mod server;
mod workers;
