//! Virtual machines with a kernel of their own, for what this machine's kernel is not set up to do.
//!
//! Emulated (QEMU's TCG), because hardware virtualisation is rare where tests run; a boot takes a few seconds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{dev::shown, processes::run, rootfs};

/// Longest run, in seconds.
const LIMIT: &str = "240";

/// The first process: BusyBox with its usual file systems and a control group hierarchy of version 2; at the end, `/kept` leaves
/// through the second serial line.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
sh /script
stty -F /dev/ttyS1 raw
tar -C /kept -cf - . | gzip >/dev/ttyS1
poweroff -f
";

/// A machine that has not been started yet. Its root file system is in memory.
#[derive(Debug)]
pub struct VirtualMachine(TempDir);

/// What is left of a machine.
#[derive(Debug)]
pub struct Remains {
    /// Everything that was printed on its console.
    pub console: String,
    /// What its folder `/kept` held.
    pub kept: TempDir,
}

impl Default for VirtualMachine {
    fn default() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        for folder in ["bin", "dev", "kept", "proc", "root", "sys", "tmp"] {
            fs::create_dir(root.path().join(folder)).expect("a folder");
        }
        let machine = Self(root);
        machine.add_program("bin/busybox", &rootfs::path("busybox").join("usr/bin/busybox"));
        machine
    }
}

impl VirtualMachine {
    /// Its root file system, to which files can be added.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Puts a program in a place.
    pub fn add_program(&self, place: &str, program: &Path) {
        let to = self.root().join(place);
        fs::copy(program, &to).expect("it is copied");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("it can be run");
    }

    /// Starts it, runs a shell script in it as root, and stops it.
    #[must_use]
    pub fn run(self, script: &str) -> Remains {
        fs::write(self.root().join("script"), script).expect("it is written");
        fs::write(self.root().join("init"), INIT).expect("it is written");
        fs::set_permissions(self.root().join("init"), fs::Permissions::from_mode(0o755))
            .expect("it can be run");
        let kept = tempfile::tempdir().expect("a temporary folder");
        let files = tempfile::tempdir().expect("a temporary folder");
        let place = |name: &str| files.path().join(name);

        shell(
            self.root(),
            &format!("find . | busybox cpio -o -H newc | gzip -1 >'{}'", place("initrd").display()),
        );
        let output = Command::new("timeout")
            .args(["--kill-after=5", LIMIT, "qemu-system-x86_64", "-accel", "tcg", "-smp", "2", "-m", "768"])
            .args([
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
                "-append",
                "console=ttyS0 quiet panic=-1",
            ])
            .arg("-kernel")
            .arg(kernel())
            .arg("-initrd")
            .arg(place("initrd"))
            .arg("-serial")
            .arg(format!("file:{}", place("console").display()))
            .arg("-serial")
            .arg(format!("file:{}", place("kept.tar.gz").display()))
            .stdin(Stdio::null())
            .output()
            .expect("timeout can be started");
        let console = fs::read(place("console")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).replace('\r', "");
        assert!(output.status.success(), "the virtual machine did not end:\n{}\n{console}", shown(&output));
        shell(kept.path(), &format!("tar -xzf '{}'", place("kept.tar.gz").display()));
        Remains { console, kept }
    }
}

fn kernel() -> PathBuf {
    let boot = rootfs::path("kernel").join("boot");
    let files = fs::read_dir(boot).expect("a folder").flatten().map(|entry| entry.path());
    let mut kernels = files
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")));
    kernels.next().expect("a kernel")
}

fn shell(folder: &Path, script: &str) {
    run(folder, &["bash", "-o", "pipefail", "-ec", script]);
}
