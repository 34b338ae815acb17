//! Everything below a process, and its end.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Time between two looks at what is left.
const LOOK: Duration = Duration::from_millis(2);

/// One line of the process table (`proc_pid_stat(5)`).
struct Process {
    id: i32,
    parent: i32,
    session: i32,
    ended: bool,
}

/// The whole process table, as far as it can be read. No crate: what is needed are four numbers of one file.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: i32| read(id)).collect()
}

fn read(id: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // the program's name may hold anything, brackets and blanks included; what follows the last bracket has none
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { id, parent, session, ended: matches!(state, "Z" | "X") })
}

/// Living processes below a process.
fn below(root: i32) -> Vec<i32> {
    let table = processes();
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in &table {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut look_below) = (Vec::new(), vec![root]);
    while let Some(parent) = look_below.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            look_below.push(process.id);
            // a zombie has ended; its children have moved to the supervisor
            if !process.ended {
                found.push(process.id);
            }
        }
    }
    found
}

fn kill(id: i32) {
    if let Some(pid) = Pid::from_raw(id) {
        // gone already is what is wanted
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Waits for at most `patience` until nothing lives below this process; returns how many still do.
pub(super) fn wait_for_none(patience: Duration) -> usize {
    let until = Instant::now() + patience;
    loop {
        let left = below(getpid().as_raw_nonzero().get()).len();
        if left == 0 || Instant::now() >= until {
            return left;
        }
        thread::sleep(LOOK);
    }
}

/// Ends everything below this process, however fast it starts more; a control group ends all of it in one step.
///
/// Does not wait for processes that the kernel holds in an uninterruptible sleep: they end when it lets them go.
pub(super) fn end_all(cgroup: Option<&Path>) {
    if let Some(cgroup) = cgroup {
        // Linux 5.14 and later; the loop below does without
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    }
    loop {
        let left = below(getpid().as_raw_nonzero().get());
        if left.is_empty() {
            return;
        }
        for id in left {
            kill(id);
        }
        thread::sleep(LOOK);
    }
}

/// Ends processes that belong to nobody any more: those of a session, and those in whose environment `mark` stands
/// (a whole `NAME=value`). Returns how many were found.
///
/// For the case that a supervisor was killed: what it answered for is somebody else's child then.
pub(crate) fn end_by_mark(session: Option<i32>, mark: Option<&str>) -> usize {
    let mut seen = HashSet::new();
    loop {
        let marked = |id: i32| {
            let Some(mark) = mark else { return false };
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let own = getpid().as_raw_nonzero().get();
        let found: Vec<i32> = processes()
            .into_iter()
            .filter(|process| !process.ended && process.id != own)
            .filter(|process| session == Some(process.session) || marked(process.id))
            .map(|process| process.id)
            .collect();
        if found.is_empty() {
            return seen.len();
        }
        for id in found {
            kill(id);
            seen.insert(id);
        }
        thread::sleep(LOOK);
    }
}
