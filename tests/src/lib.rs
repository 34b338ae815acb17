//! The harness of the end-to-end tests: real programs, real files, real processes.
//!
//! [`binaries`] builds and finds the programs, [`dev`] runs `attune dev` in a folder of its own, [`store_conformance`] is what
//! every store must do.

pub mod binaries;
pub mod dev;
pub mod store_conformance;
