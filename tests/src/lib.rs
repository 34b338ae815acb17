//! The harness of the end-to-end tests: real programs, real files, real processes.
//!
//! [`binaries`] builds and finds the programs, [`dev`] runs `attune dev` in a folder of its own, [`store_conformance`] is what
//! every store must do, [`service`] runs workers in the test process.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a test fails")]

pub mod binaries;
pub mod dev;
pub mod service;
pub mod store_conformance;
