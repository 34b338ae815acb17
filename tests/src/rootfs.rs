//! The root file systems of `tests/rootfs`, and a cheap way into them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{binaries::workspace, static_agent};

/// Where the agent is in a sandbox.
pub const AGENT: &str = "/opt/attune/agent/attune-agent";

/// The folder of a root file system, which is made if it is not there.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let output = Command::new(workspace().join("tests/rootfs"))
        .arg(name)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("tests/rootfs can be started");
    assert!(output.status.success(), "tests/rootfs {name}: {}: its message is above", output.status);
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end()).join(name)
}

/// Enters a root file system, with this machine's devices, processes and temporary files, and becomes a program there.
const ENTER: &str = r#"
root=$1; shift
for folder in dev proc tmp; do mount --rbind "/$folder" "$root/$folder" || exit; done
exec chroot "$root" "$@"
"#;

/// A command that runs a program of a root file system, with this machine's devices, processes and temporary files. The
/// program's path there, and its arguments, are to be added; what is mounted goes with it.
#[must_use]
pub fn enter(root: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", ENTER, "sh"]).arg(root);
    command
}

/// Who runs the agent, and what is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sandbox {
    /// Another user than root.
    pub unprivileged: bool,
    /// Nothing anywhere can be written, not even /tmp.
    pub read_only: bool,
    /// `PATH`; `None` where it is not set.
    pub search_path: Option<&'static str>,
}

impl Sandbox {
    /// The ordinary search path of a container.
    pub const ORDINARY: Self =
        Self { unprivileged: false, read_only: false, search_path: Some("/usr/local/bin:/usr/bin:/bin") };

    /// A command that runs the agent for this processor in a root file system. Arguments can be added.
    #[must_use]
    pub fn agent(&self, root: &Path) -> Command {
        let mut command = self.bwrap(root, static_agent::x86_64());
        command.arg(AGENT);
        command
    }

    /// The same for aarch64, which needs QEMU here.
    #[must_use]
    pub fn emulated_agent(&self, root: &Path) -> Command {
        const EMULATOR: &str = "/run/qemu-aarch64-static";
        let emulator = binaries_on_path("qemu-aarch64-static");
        let mut command = self.bwrap(root, static_agent::aarch64());
        command.args(["--tmpfs", "/run", "--ro-bind"]).arg(emulator).arg(EMULATOR).args([EMULATOR, AGENT]);
        command
    }

    fn bwrap(&self, root: &Path, agent: &Path) -> Command {
        let mut command = Command::new("bwrap");
        command.stdin(Stdio::null()).args(["--unshare-all", "--die-with-parent", "--as-pid-1", "--clearenv"]);
        command.arg("--ro-bind").arg(root).args(["/", "--proc", "/proc", "--dev", "/dev"]);
        if self.unprivileged {
            command.args(["--unshare-user", "--uid", "65532", "--gid", "65532"]);
        }
        if self.read_only {
            command.args(["--remount-ro", "/dev"]);
        } else {
            command.args(["--tmpfs", "/tmp"]);
        }
        let folder = Path::new(AGENT).parent().unwrap();
        command
            .arg("--tmpfs")
            .arg(folder)
            .arg("--ro-bind")
            .arg(agent)
            .arg(AGENT)
            .arg("--remount-ro")
            .arg(folder);
        if let Some(path) = self.search_path {
            command.args(["--setenv", "PATH", path]);
        }
        command
    }
}

/// A program of this machine.
fn binaries_on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("there is no {name} on the search path: tests/run installs it"))
}
