//! Containers in a podman of one's own: nothing of the machine's containers is seen or touched.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::dev::{shown, wait_for};

/// Works in containers within containers, too: fixed limits, runc, and no systemd.
const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"#;

/// Everything that podman keeps, in one temporary folder.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
}

/// A container. Its root file system is a folder, over which what it writes is laid and thrown away at its end.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    /// The folder.
    pub root: &'a Path,
    /// User and group, as in `65532:65532`.
    pub user: &'a str,
    /// Variables of its environment, as in `NAME=value`.
    pub environment: Vec<String>,
    /// Folders, as in `/here:/there:ro`.
    pub volumes: Vec<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Most memory that it may take, as in `128m`.
    pub memory: Option<&'a str>,
    /// The only capabilities that it has (`capabilities(7)`); podman's choice when there are none.
    pub capabilities: Vec<String>,
}

impl Default for Podman {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("containers.conf"), CONFIGURATION).unwrap();
        Self { folder }
    }
}

impl Podman {
    /// A podman command with these arguments.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let place = |name: &str| self.folder.path().join(name);
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", place("containers.conf"))
            .arg("--root")
            .arg(place("root"))
            .arg("--runroot")
            .arg(place("run"))
            .arg("--tmpdir")
            .arg(place("tmp"))
            // no driver that mounts something for longer than a container lives
            .arg("--storage-driver=vfs")
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn prepare(&self, container: &Container<'_>, name: &str) -> Command {
        // as strict as people are told to be: nothing can be written but what is mounted, and nothing be gained
        let mut command = self.command([
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--security-opt=no-new-privileges",
            "--user",
            container.user,
            "--name",
            name,
        ]);
        for variable in &container.environment {
            command.args(["--env", variable]);
        }
        if let Some(memory) = container.memory {
            // no swap beside it
            command.args(["--memory", memory, "--memory-swap", memory]);
        }
        if !container.capabilities.is_empty() {
            command.args(["--cap-drop", "all", "--cap-add", &container.capabilities.join(",")]);
        }
        for volume in &container.volumes {
            command.args(["--volume", volume]);
        }
        command.arg("--rootfs").arg(format!("{}:O", container.root.display())).args(&container.command);
        command
    }

    /// Runs a container to its end.
    #[must_use]
    pub fn run(&self, container: &Container<'_>, name: &str) -> Output {
        self.prepare(container, name).output().expect("podman can be started")
    }

    /// Starts a container.
    #[must_use]
    pub fn start<'a>(&'a self, container: &Container<'_>, name: &str) -> Running<'a> {
        let log = self.folder.path().join(format!("{name}.log"));
        let file = fs::File::create(&log).unwrap();
        let child = self
            .prepare(container, name)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("podman can be started");
        Running { podman: self, name: name.to_owned(), child, log }
    }
}

/// A container that was started. Dropping it removes it.
#[derive(Debug)]
pub struct Running<'a> {
    podman: &'a Podman,
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running<'_> {
    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended already.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_some()
    }

    /// Runs a program in it, beside what it was started for.
    #[must_use]
    pub fn exec(&self, command: &[&str]) -> Output {
        let begin = ["exec", &self.name];
        self.podman.command(begin.iter().chain(command)).output().expect("podman can be started")
    }

    /// Sends SIGTERM, and waits for its exit status.
    #[must_use]
    pub fn stop(&mut self) -> Option<i32> {
        let sent = self.podman.command(["kill", "--signal=TERM", &self.name]).output().unwrap();
        assert!(sent.status.success(), "{}: {}", self.name, shown(&sent));
        let mut status = None;
        wait_for("the container to end", || {
            status = self.child.try_wait().expect("it can be asked");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.podman.command(["rm", "--force", "--time=0", &self.name]).output();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
