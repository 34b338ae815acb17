//! `attune-api` on a database that workers share, and the commands that talk to it.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    binaries,
    dev::{attune, shown, wait_for},
};

/// A running `attune-api`. Dropping it kills it.
#[derive(Debug)]
pub struct ControlPlane {
    folder: TempDir,
    child: Child,
    url: String,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self::start()
    }
}

impl ControlPlane {
    /// Starts one on an SQLite file and waits until it listens.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        // every user of every container writes to it; SQLite gives its other files the same mode
        fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        File::create(data.join("attune.db")).unwrap().set_permissions(Permissions::from_mode(0o666)).unwrap();
        let url = format!("sqlite://{}", data.join("attune.db").display());
        Self::start_in(folder, &url, &[])
    }

    /// Starts one on the database of a URL, with further variables, and waits until it listens.
    #[must_use]
    pub fn start_on(url: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), url, environment)
    }

    fn start_in(folder: TempDir, url: &str, environment: &[(&str, &str)]) -> Self {
        let token = folder.path().join("token");
        fs::write(&token, "a-token-for-one-test-run\n").unwrap();
        fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
        let log = File::create(folder.path().join("api.log")).unwrap();
        let mut command = Command::new(binaries::path("attune-api"));
        // the tester's own settings are none of the test's
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ATTUNE_"))
        {
            command.env_remove(name);
        }
        let child = command
            .args(["--listen", "127.0.0.1:0"])
            .env("ATTUNE__DATABASE__URL", url)
            .env("ATTUNE__API__TOKEN_FILE", &token)
            .env("RUST_LOG", "info")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("attune-api can be started");
        let mut plane = Self { folder, child, url: String::new() };
        wait_for("attune-api to listen", || {
            let log = plane.log();
            if let Some(status) = plane.child.try_wait().unwrap() {
                panic!("attune-api ended with {status}:\n{log}");
            }
            plane.url = log
                .lines()
                .filter(|line| line.contains("listening"))
                .find_map(|line| Some(line.split_once("address=")?.1.split_whitespace().next()?.to_owned()))
                .map(|address| format!("http://{address}"))
                .unwrap_or_default();
            !plane.url.is_empty()
        });
        plane
    }

    /// The folder with the SQLite file `attune.db`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("api.log")).unwrap_or_default()
    }

    /// Runs `attune` with `-o json` and reads what it prints.
    #[must_use]
    pub fn attune(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).args(["-o", "json"]).output().expect("attune can be started");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", shown(&output)))
    }

    /// What an execution wrote to its standard output and its standard error.
    #[must_use]
    pub fn logs(&self, execution: &Value) -> [String; 2] {
        let id = execution["id"].as_str().unwrap();
        let output = self.command(&["logs", id]).output().expect("attune can be started");
        assert!(output.status.success(), "{}", shown(&output));
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An `attune` that talks to it, with these arguments.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = attune(self.folder.path());
        command
            .args(arguments)
            .env("ATTUNE_API_URL", &self.url)
            .env("ATTUNE_API_TOKEN_FILE", self.folder.path().join("token"));
        command
    }

    /// Pushes a pack.
    pub fn push(&self, pack: &Path) {
        let pushed = self.attune(&["pack", "push", pack.to_str().unwrap()]);
        assert!(pushed["ref"].is_string(), "{pushed}");
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
