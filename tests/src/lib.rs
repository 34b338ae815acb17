//! The harness of the end-to-end tests: real programs, real files, real processes.
//!
//! [`binaries`] builds and finds the programs, [`dev`] runs `attune dev` in a folder of its own, [`service`] runs workers in the
//! test process, [`agent`] in one of their own. [`store_conformance`] is what every store must do, [`lease_model`] why that is
//! enough and [`lease_replay`] that it is the same; [`seeding`] puts the least into a store, [`interpreters`] writes interpreters that do not work. [`static_agent`] is the agent that runs
//! anywhere, [`rootfs`] is where, [`podman`] starts it in containers, [`control_plane`] is what they work for. [`s3`] keeps
//! artifacts, [`postgres`] starts database servers, [`rabbitmq`] brokers ([`private_server`] takes them away), [`proxy`] networks that break. [`processes`] tells what
//! runs, [`latencies`] reports what benches measure, [`seed`] repeats what was chosen at random.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a test fails")]

pub mod agent;
pub mod binaries;
mod certificates;
pub mod control_plane;
pub mod dev;
pub mod files;
pub mod interpreters;
pub mod latencies;
pub mod lease_model;
pub mod lease_replay;
pub mod million;
pub mod pack;
pub mod pgbouncer;
pub mod podman;
pub mod postgres;
pub mod private_server;
pub mod processes;
pub mod proxy;
pub mod rabbitmq;
pub mod rootfs;
pub mod s3;
pub mod seed;
pub mod seeding;
pub mod service;
pub mod static_agent;
pub mod store_conformance;
pub mod virtual_machine;
pub mod waiting;
