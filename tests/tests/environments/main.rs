//! What packs lock is installed for them: by every built-in recipe and by recipes of packs, offline, with real installers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ahead;
mod cache;
mod go;
mod installers;
mod node;
mod own_recipes;
mod perl;
mod python;
mod ruby;

use std::ffi::{OsStr, OsString};

use attune_common::model::Execution;
use attune_tests::{pack::Pack, service::Machine};
use serde_json::json;

async fn ended(machine: &Machine, name: &str) -> Execution {
    machine.ended(machine.submit(name, json!({})).await).await
}

/// A search path without the folders that hold a program.
fn path_without(program: &str, path: &OsStr) -> OsString {
    let folders = std::env::split_paths(path).filter(|folder| !folder.join(program).exists());
    std::env::join_paths(folders).unwrap()
}

/// A recipe for the shell, whose commands are given, and an action that reads what they left.
fn shell_pack(recipe: &str) -> Pack {
    Pack::default()
        .file("shell.lock", "tool 1\n")
        .file("runtimes/sh.yaml", &format!("name: sh\nlock_files: [shell.lock]\n{recipe}"))
        .action("show", "sh", "runner_type: shell\n", "echo \"\\\"$(command -v tool) $TOOL_HOME $0\\\"\"\n")
}

const RECIPE: &str = r##"
create:
  - mkdir '{env_dir}/bin'
install:
  - cp {interpreter} {env_dir}/bin/sh
  - [sh, -c, 'echo "#!{env_dir}/bin/sh" >"$1" && chmod 700 "$1"', sh, "{env_dir}/bin/tool"]
variables: {TOOL_HOME: "{env_dir}"}
path: ["{env_dir}/bin"]
interpreter: "{env_dir}/bin/sh"
"##;
