//! The vocabulary that the Attune control plane and its workers share.
//!
//! Data flows one way: [`pack`] turns a folder into an archive and its manifests into [`model`] values;
//! [`store`] keeps them and every state change of an execution; [`doorbell`] tells workers to look at the store.
//! [`artifact_store`] keeps the files that actions leave, and [`reaper`] takes work away from workers that have gone silent.
//! [`requirement`] is the only thing that connects an execution with the workers that can run it.

pub mod artifact_store;
pub mod config;
pub mod doorbell;
pub mod model;
pub mod pack;
pub mod reaper;
pub mod requirement;
pub mod stagger;
pub mod store;
pub mod telemetry;
pub mod timer;
pub mod tls;
pub mod yaml;
