//! Candidates that cannot even be started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use attune_worker::runtime_detect::{Format, Options, Selection, render};

use crate::tree::{Tree, search};

/// A 64-bit little-endian ELF executable whose only segment asks for `loader`.
fn elf(machine: u16, loader: &str) -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    let name = [loader.as_bytes(), b"\0"].concat();
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(2u16.to_le_bytes()); // an executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(0u64.to_le_bytes()); // entry point
    file.extend(HEADER.to_le_bytes()); // program headers follow
    file.extend(0u64.to_le_bytes()); // no sections
    file.extend(0u32.to_le_bytes());
    for number in [HEADER as u16, SEGMENT as u16, 1, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(3u32.to_le_bytes()); // PT_INTERP
    file.extend(4u32.to_le_bytes());
    for number in [HEADER + SEGMENT, 0, 0, name.len() as u64, name.len() as u64, 1] {
        file.extend(number.to_le_bytes());
    }
    file.extend(name);
    file
}

/// This machine's number in ELF headers, and that of one which no test machine is or emulates.
fn machines() -> (u16, u16) {
    const IA_64: u16 = 50;
    match std::env::consts::ARCH {
        "x86_64" => (62, IA_64),
        "aarch64" => (183, IA_64),
        other => panic!("add the ELF number of {other}"),
    }
}

#[tokio::test]
async fn every_broken_file_has_its_reason() {
    let tree = Tree::new();
    let (here, foreign) = machines();
    tree.link("/bin/python", "/nonexistent/python3.11");
    tree.link("/bin/python2", "python2");
    tree.file("/bin/python3", "#!/bin/sh\necho Python 3.11.2\n", 0o644);
    tree.file("/bin/python3.1", elf(foreign, "/lib/ld.so"), 0o755);
    tree.file("/bin/python3.2", elf(here, "/lib/ld-linux-of-another-world.so.2"), 0o755);
    tree.file("/bin/python3.3", "#!/opt/gone/python3.3\n", 0o755);
    tree.file("/bin/python3.4", "#!/bin/sh\r\necho Python 3.4.0\r\n", 0o755);
    tree.file("/bin/python3.5", "echo Python 3.5.0\n", 0o755);
    tree.file("/bin/python3.6", "", 0o755);
    tree.file("/bin/python3.7", &elf(here, "/lib/ld.so")[..40], 0o755);
    tree.script("/bin/python3.8", "kill -SEGV $$");
    tree.script("/bin/python3.9", "echo 'Segmentation fault' >&2; exit 139");
    // neither a directory nor a device is a candidate
    fs::create_dir(tree.at("/bin/python3.10")).unwrap();
    tree.link("/bin/python3.11", "/dev/null");
    let only = Selection::parse("python", "the test");
    let found = search(&Options { only, allow_missing: true, ..tree.options(&["/bin"]) }).await;
    let found = tree.seen_from_inside(&found);
    insta::assert_snapshot!(render(&found, Format::Text));
    insta::assert_snapshot!("every_reason_as_json", serde_json::to_string_pretty(&found.rejected).unwrap());
}

/// Root may execute whatever anybody may, so the refusal needs a user who is not root: as root the agent runs as another.
#[test]
fn what_this_user_may_not_execute_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_attune-agent"), place("attune-agent")).unwrap();
    fs::write(place("node"), "#!/bin/sh\necho v20.0.0\n").unwrap();
    mode(folder.path(), 0o755);
    let mut agent = Command::new(place("attune-agent"));
    agent
        .args(["--detect-only", "--format", "json"])
        .env("PATH", folder.path())
        .env("ATTUNE_WORKER_RUNTIMES", "node");
    let expected = if rustix::process::geteuid().is_root() {
        agent.uid(65534).gid(65534);
        mode(&place("node"), 0o754);
        "permission denied: its mode is 0754"
    } else {
        mode(&place("node"), 0o645);
        "permission denied: its mode is 0645"
    };
    let output = agent.arg("--allow-missing-runtimes").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rejected = report["rejected"].as_array().unwrap();
    let node = rejected.iter().find(|one| one["path"] == place("node").to_str().unwrap());
    assert_eq!(node.expect("it is rejected")["reason"]["message"], expected, "{report:#}");
}
