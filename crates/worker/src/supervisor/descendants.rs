//! Everything below a process, and its end.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, test_kill_process_group,
        waitid, waitpid,
    },
};

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

/// The whole process table. No crate: what is needed are four numbers of one file.
///
/// Fails when it cannot be read: to take it for empty would be to leave strangers alone.
fn processes() -> io::Result<Vec<Process>> {
    let mut table = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        table.extend(read(id)?);
    }
    Ok(table)
}

/// Nothing for a process that is gone.
fn read(id: i32) -> io::Result<Option<Process>> {
    match fs::read(format!("/proc/{id}/stat")) {
        Ok(stat) => Ok(parse(id, &stat)),
        // the second one when it goes between opening and reading
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fields behind the program's name, from the third on (`proc_pid_stat(5)`).
pub(super) fn fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    // the name may hold any bytes, brackets and blanks included; what follows the last bracket is ASCII
    let behind_name = stat.rsplitn(2, |byte| *byte == b')').next()?;
    Some(str::from_utf8(behind_name).ok()?.split_whitespace())
}

fn parse(id: i32, stat: &[u8]) -> Option<Process> {
    let mut fields = fields(stat)?;
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { id, parent, session, ended: matches!(state, "Z" | "X") })
}

/// Living processes below a process.
fn below(root: i32, table: &[Process]) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in table {
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

/// Living processes below this one, as far as a single look shows them: who changes its parent meanwhile can be missed.
fn descendants() -> io::Result<Vec<i32>> {
    Ok(below(getpid().as_raw_nonzero().get(), &processes()?))
}

/// Whether this process has children, ended or not: what the kernel knows, and no look at a table can miss (waitid(2)).
fn has_children() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, look).err() != Some(Errno::CHILD)
}

fn kill(id: i32) {
    if let Some(pid) = Pid::from_raw(id) {
        // gone already is what is wanted
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Waits for at most `patience` until nothing is left below this process; returns how many still live.
pub(super) fn wait_for_none(patience: Duration) -> usize {
    let until = Instant::now() + patience;
    while has_children() {
        if Instant::now() >= until {
            return descendants().map_or(1, |left| left.len());
        }
        thread::sleep(LOOK);
    }
    0
}

/// Waits for at most `patience`, and no longer than it is not `interrupted`, until nobody is left in a process group, whose leader
/// may have ended.
pub(super) fn wait_for_group(group: Pid, patience: Duration, interrupted: impl Fn() -> bool) {
    let until = Instant::now() + patience;
    // ended ones are members until they are reaped, which another thread does at once
    while Instant::now() < until && test_kill_process_group(group).is_ok() && !interrupted() {
        thread::sleep(LOOK);
    }
}

/// Ends everything below this process, however fast it starts more; a control group ends all of it in one step.
///
/// Returns when everything is ended and, by another thread, reaped. Until then it goes on, also for processes that the
/// kernel holds in an uninterruptible sleep: they end when it lets them go.
pub(super) fn end_all(cgroup: Option<&Path>) {
    if let Some(cgroup) = cgroup {
        // Linux 5.14 and later; the loop below does without
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    }
    let (mut before, mut pause) = (Vec::new(), LOOK);
    while has_children() {
        // a table that cannot be read now may be readable the next time
        let left = descendants().unwrap_or_default();
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
    /// A folder in which only they work.
    pub(crate) folder: Option<&'a Path>,
    /// Whether a child of this process is a supervisor that lives. Every other child in another session than this process's was
    /// adopted (`PR_SET_CHILD_SUBREAPER`): this process starts none.
    pub(crate) is_supervisor: &'a dyn Fn(i32) -> bool,
}

impl Orphans<'_> {
    /// Ends them with everything below them, and returns how many were found.
    pub(crate) fn end(&self) -> usize {
        let (mut seen, mut quiet) = (HashSet::new(), false);
        loop {
            let found = match self.find() {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the process table in /proc, trying again");
                    thread::sleep(LONGEST_LOOK);
                    continue;
                }
            };
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

    fn find(&self) -> io::Result<Vec<i32>> {
        let own = getpid().as_raw_nonzero().get();
        let table = processes()?;
        // 0 when the session is another PID namespace's, as for what is started in a container from outside (setns(2))
        let own_session = table.iter().find(|process| process.id == own).map_or(0, |process| process.session);
        let adopted = |process: &&Process| {
            process.parent == own && process.session != own_session && !(self.is_supervisor)(process.id)
        };
        let (ended, roots): (Vec<_>, Vec<_>) =
            table.iter().filter(adopted).partition(|process| process.ended);
        for process in ended {
            // nobody else waits for it
            let _ = waitpid(Pid::from_raw(process.id), WaitOptions::NOHANG);
        }
        let mut found: Vec<i32> = roots.iter().flat_map(|root| below(root.id, &table)).collect();
        found.extend(roots.iter().map(|root| root.id));
        let marked = table.iter().filter(|process| !process.ended && process.id != own);
        found.extend(marked.filter(|process| self.marks(process)).map(|process| process.id));
        Ok(found)
    }

    fn marks(&self, process: &Process) -> bool {
        let place = Path::new("/proc").join(process.id.to_string());
        let has = |mark: &str| {
            let environment = fs::read(place.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        self.session == Some(process.session)
            || self.mark.is_some_and(has)
            || self.folder.is_some_and(|folder| {
                fs::read_link(place.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_hides_a_process() {
        for name in ["sleep", "a) Z 1 1 (b", "\u{e9}", ""] {
            let process = parse(7, format!("7 ({name}) S 3 4 5 0").as_bytes()).expect("it is read");
            assert_eq!((process.parent, process.session, process.ended), (3, 5, false), "{name}");
        }
        let not_text = parse(7, b"7 (\xff\xc3) Z 3 4 5 0").expect("it is read");
        assert_eq!((not_text.parent, not_text.session, not_text.ended), (3, 5, true));
    }
}
