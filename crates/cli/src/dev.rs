//! One machine: the API and a worker in this process, on an SQLite file in a state folder.

mod banner;
mod examples;
mod services;
mod state_dir;

pub(crate) use banner::{Banner, LoadedPack, next_steps};
pub(crate) use examples::archive as example_pack;
pub(crate) use services::{Choices, Services};
pub(crate) use state_dir::StateDir;
