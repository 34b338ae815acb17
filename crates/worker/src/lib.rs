//! Runs Attune actions as processes.
//!
//! [`runtime_detect`] finds the interpreters, of which [`verification`] leaves those [`offered`] that run scripts, [`service`]
//! registers the worker and takes executions, [`executor`] brings one
//! of them from its claim to its outcome: the pack from [`packs`], libraries from [`environment`] (both kept in a
//! [`cache`]), folders and variables from [`workspace`], parameters by [`params`], the process by [`process`], its output
//! through [`log_writer`] into the store and through [`output`] into a result, both without the secrets that [`redact`]
//! takes out; [`verdict`] says what came of it, and [`artifacts`] stores the files that it left. `attune-agent` and
//! `attune-worker` are this library with detected and with configured runtimes; [`install`] puts the agent where other
//! containers start it.

pub mod artifacts;
pub mod cache;
mod capacity;
pub mod confinement;
pub mod environment;
pub mod executor;
pub mod exposed_files;
pub mod health;
pub mod init;
pub mod install;
pub mod interpreter;
mod leftovers;
pub mod log_writer;
pub mod offered;
pub mod output;
pub mod packs;
pub mod params;
pub mod process;
pub mod redact;
pub mod registration;
mod removal;
pub mod role;
pub mod running;
pub mod runtime_detect;
pub mod service;
pub mod settings;
pub mod startup;
pub mod stop;
pub mod supervisor;
pub mod verdict;
pub mod verification;
pub mod workspace;
