//! The Attune control plane: an HTTP API over the store.

pub mod problem;
pub mod views;
