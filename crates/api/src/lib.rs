//! The Attune control plane: an HTTP API over the store.
//!
//! The API decides nothing about executions that the store does not decide too: it checks what comes in, shows what may
//! be seen, rings the doorbell, again where a ring was lost, and looks for leases that have expired.

mod auth;
mod events;
mod extract;
mod lost_rings;
pub mod problem;
mod routes;
mod server;
mod state;
pub mod token;
pub mod views;

pub use server::{BindError, bind, openapi, router, serve};
pub use state::ApiState;
