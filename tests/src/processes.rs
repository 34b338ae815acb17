//! What runs on this machine, as `/proc` tells it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::dev::shown;

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a tool in a folder, which must succeed.
pub fn run(folder: &Path, command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}: is it installed? See tests/run", command[0]));
    assert!(output.status.success(), "{command:?}: {}", shown(&output));
}

/// Living processes, each with its parent.
#[must_use]
pub fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let alive = fields.next()? != "Z";
            alive.then(|| Some((pid, fields.next()?.parse().ok()?))).flatten()
        })
        .collect()
}

/// Every process below another one, the oldest first as far as numbers tell.
#[must_use]
pub fn below(root: i32, parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let mut found = Vec::new();
    let mut look = vec![root];
    while let Some(parent) = look.pop() {
        for (pid, _) in parents.iter().filter(|(_, of)| **of == parent) {
            found.push(*pid);
            look.push(*pid);
        }
    }
    found.sort_unstable();
    found
}

/// A size in `/proc/<pid>/status`, in bytes: `VmRSS` is the memory of a process now, `VmHWM` the most that it has had
/// (`proc_pid_status(5)`).
#[must_use]
pub fn memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// Processes that carry this variable in their environment: its name, and how its value starts.
#[must_use]
pub fn marked(mark: &str) -> Vec<i32> {
    let carries = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
    };
    parents().into_keys().filter(carries).collect()
}

/// A process as a failure shows it.
#[must_use]
pub fn description(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
    let attune: Vec<&str> = environment.split('\0').filter(|one| one.starts_with("ATTUNE_A")).collect();
    format!("{pid}: {}, {}", stat.trim_end(), attune.join(", "))
}
