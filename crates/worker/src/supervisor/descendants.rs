//! Everything below a process, and its end.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, getpid, getsid, kill_process, waitpid};

/// Time between two looks at what is left.
const LOOK: Duration = Duration::from_millis(2);

/// The same for what does not end, such as a process that waits for a disk: looking costs the more, the more there is.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

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
    let (mut before, mut pause) = (Vec::new(), LOOK);
    loop {
        let left = below(getpid().as_raw_nonzero().get());
        if left.is_empty() {
            return;
        }
        for id in &left {
            kill(*id);
        }
        thread::sleep(pause);
        // new ones want to be caught at once
        pause = if left == before { (pause * 2).min(LONGEST_LOOK) } else { LOOK };
        before = left;
    }
}

/// Processes that belong to nobody any more, because their supervisor was killed.
pub(crate) struct Orphans<'a> {
    /// The session of that supervisor.
    pub(crate) session: Option<i32>,
    /// A variable, `NAME=value`, that only they have in their environment.
    pub(crate) mark: Option<&'a str>,
    /// Whether a child of this process is a supervisor that lives. Every other child in another session than this process's was
    /// adopted (`PR_SET_CHILD_SUBREAPER`): this process starts none.
    pub(crate) is_supervisor: &'a dyn Fn(i32) -> bool,
}

impl Orphans<'_> {
    /// Ends them with everything below them, and returns how many were found.
    pub(crate) fn end(&self) -> usize {
        let (mut seen, mut quiet) = (HashSet::new(), false);
        loop {
            let found = self.find();
            // once more: a process can be between two places of the table while it is read
            if found.is_empty() && quiet {
                return seen.len();
            }
            quiet = found.is_empty();
            for id in found {
                kill(id);
                seen.insert(id);
            }
            thread::sleep(LOOK);
        }
    }

    fn find(&self) -> Vec<i32> {
        let own = getpid().as_raw_nonzero().get();
        let own_session = getsid(None).map_or(0, |session| session.as_raw_nonzero().get());
        let table = processes();
        let adopted = |process: &&Process| {
            process.parent == own && process.session != own_session && !(self.is_supervisor)(process.id)
        };
        let (ended, roots): (Vec<_>, Vec<_>) =
            table.iter().filter(adopted).partition(|process| process.ended);
        for process in ended {
            // nobody else waits for it
            let _ = waitpid(Pid::from_raw(process.id), WaitOptions::NOHANG);
        }
        let mut found: Vec<i32> = roots.iter().flat_map(|root| below(root.id)).collect();
        found.extend(roots.iter().map(|root| root.id));
        let marked = table.iter().filter(|process| !process.ended && process.id != own);
        found.extend(marked.filter(|process| self.marks(process)).map(|process| process.id));
        found
    }

    fn marks(&self, process: &Process) -> bool {
        let Some(mark) = self.mark.filter(|_| self.session != Some(process.session)) else {
            return self.session == Some(process.session);
        };
        let environment = fs::read(format!("/proc/{}/environ", process.id)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    }
}
