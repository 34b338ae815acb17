//! Control groups of version 2, where the worker may make some and the kernel counts memory in them: then an action can be ended
//! in one step, and it is exact which action ran out of memory.
//!
//! Without that counting they are not worth their price: moving a process into a group makes the kernel wait for all
//! processors. Measured with the bench `engine`, an execution takes 14 ms with and 7 ms without, and the supervisor ends
//! everything either way.
//!
//! A group that counts for those below it has no processes of its own (cgroups(7), "no internal processes"). Where the worker's
//! group is its own to divide, as in a service with `Delegate=yes`, [`prepare`] moves the worker into a leaf first.
//!
//! Written here and not taken from a crate: what is needed is to find one's own group (cgroups(7)), and to make a folder.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, getpid, getppid};

/// How the names of groups begin.
const PREFIX: &str = "attune-";

/// The worker's own leaf, below the group in which it was started.
const LEAF: &str = "attune-worker";

/// Numbers the groups of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The group in which this process was started.
static OWN: LazyLock<Option<PathBuf>> = LazyLock::new(|| of_this_process("cgroup2", ""));

/// The group below which actions get theirs.
static PARENT: LazyLock<Option<&Path>> =
    LazyLock::new(|| OWN.as_deref().filter(|own| counts_memory(own) || divide(own)));

static OWN_MEMORY_V1: LazyLock<Option<PathBuf>> = LazyLock::new(|| of_this_process("cgroup", "memory"));

/// Finds out whether actions can have groups of their own, and makes room for them. To be called before anything is started: what
/// runs already would stay where it is.
pub(crate) fn prepare() {
    if let Some(group) = *PARENT {
        tracing::info!(group = %group.display(), "actions run in control groups of their own");
    }
}

/// Whether groups below this one count memory (`cgroup.subtree_control`).
fn counts_memory(group: &Path) -> bool {
    names_memory(&group.join("cgroup.subtree_control"))
}

fn names_memory(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|names| names.split_whitespace().any(|one| one == "memory"))
}

/// Makes a group count memory for those below it, if it may be divided and nobody else lives there.
fn divide(group: &Path) -> bool {
    let Ok(living) = fs::read_to_string(group.join("cgroup.procs")) else { return false };
    if !names_memory(&group.join("cgroup.controllers")) || !is_ours(&living) {
        return false;
    }
    let leaf = group.join(LEAF);
    // read-only, or somebody else's: then it goes without
    if let Err(error) = fs::create_dir(&leaf)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return false;
    }
    let divided =
        move_all(&living, &leaf).and_then(|()| fs::write(group.join("cgroup.subtree_control"), "+memory"));
    if divided.is_err() {
        // as it was, as far as that goes
        let _ = move_all(&living, group);
        let _ = fs::remove_dir(&leaf);
    }
    divided.is_ok()
}

/// Whether the processes of a group (`cgroup.procs`) are this one, and perhaps the first of its container.
fn is_ours(living: &str) -> bool {
    let first = getppid().filter(|parent| *parent == Pid::INIT);
    let ours = [Some(getpid()), first].map(|process| process.map(Pid::as_raw_pid));
    living.lines().all(|line| line.parse().is_ok_and(|id| ours.contains(&Some(id))))
}

fn move_all(living: &str, to: &Path) -> io::Result<()> {
    living.lines().try_for_each(|id| fs::write(to.join("cgroup.procs"), id))
}

/// A group for one action. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
    /// Locked as long as the worker lives (flock(2)): a group that nobody holds is one that a worker left when it was killed.
    _held: File,
}

impl Cgroup {
    /// Makes one below the worker's own, where that is possible and useful.
    pub(super) fn create() -> Option<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PARENT.as_ref()?.join(format!("{PREFIX}{}-{number}", std::process::id()));
        // not there, read-only, or somebody else's: then it goes without
        fs::create_dir(&path).ok()?;
        let held = File::open(&path).ok()?;
        held.try_lock_shared().ok()?;
        let group = Self { path, _held: held };
        // a group of another type takes no processes
        fs::metadata(group.path().join("cgroup.kill")).is_ok().then_some(group)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // nothing lives in it any more, or else its supervisor removes it when nothing does
        let _ = fs::remove_dir(&self.path);
    }
}

/// Ends what runs in the groups of workers that were killed, whatever it did to its environment and its parents, and removes them.
/// Returns how many there were.
pub(crate) fn remove_abandoned() -> usize {
    let entries = PARENT.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    let groups = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name != LEAF)
    });
    groups.filter(|group| remove_if_abandoned(&group.path()).unwrap_or(false)).count()
}

fn remove_if_abandoned(group: &Path) -> io::Result<bool> {
    if File::open(group)?.try_lock().is_err() {
        return Ok(false);
    }
    fs::write(group.join("cgroup.kill"), "1")?;
    // killed processes leave one after the other
    for _ in 0..100 {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            removed => return removed.map(|()| true),
        }
    }
    Ok(false)
}

/// The files in which the kernel counts for the worker's own groups.
pub(super) fn memory_counters() -> Vec<PathBuf> {
    let version_2 = OWN.as_ref().map(|path| path.join("memory.events"));
    let version_1 = OWN_MEMORY_V1.as_ref().map(|path| path.join("memory.oom_control"));
    version_2.into_iter().chain(version_1).collect()
}

/// The files that limit the memory of the worker's own groups, and of the groups around them as far as they are visible.
pub(crate) fn memory_limits() -> Vec<PathBuf> {
    let files = |group: &Option<PathBuf>, name: &str| {
        let around = group.iter().flat_map(|path| path.ancestors());
        around.map(|path| path.join(name)).take_while(|file| file.exists()).collect::<Vec<_>>()
    };
    [files(&OWN, "memory.max"), files(&OWN_MEMORY_V1, "memory.limit_in_bytes")].concat()
}

fn of_this_process(file_system: &str, controller: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    own(&groups, &mounts, file_system, controller)
}

/// The folder of a process's own group: `groups` is its `/proc/self/cgroup`, `mounts` its `/proc/self/mountinfo`.
fn own(groups: &str, mounts: &str, file_system: &str, controller: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers.split(',').any(|one| one == controller).then(|| fields.next()).flatten()
    })?;
    mounts.lines().find_map(|line| {
        // proc_pid_mountinfo(5): … root mount-point options … - type source super-options
        let (fields, about) = line.split_once(" - ")?;
        let mut about = about.split(' ');
        let fits = about.next()? == file_system
            && (controller.is_empty() || about.nth(1)?.split(',').any(|option| option == controller));
        let mut fields = fields.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let below = Path::new(group).strip_prefix(root).ok()?;
        fits.then(|| Path::new(mount).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_on_every_kind_of_machine() {
        let hybrid = "31 1 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                      32 1 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw";
        let unified = "30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let container = "30 1 0:26 /kubepods/pod1/c1 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup ro";
        for (groups, mounts, kind, expected) in [
            ("0::/user.slice/x.scope", unified, ("cgroup2", ""), Some("/sys/fs/cgroup/user.slice/x.scope")),
            ("0::/", unified, ("cgroup2", ""), Some("/sys/fs/cgroup/")),
            ("0::/kubepods/pod1/c1", container, ("cgroup2", ""), Some("/sys/fs/cgroup/")),
            ("4:memory:/a\n0::/b", hybrid, ("cgroup2", ""), Some("/sys/fs/cgroup/unified/b")),
            ("4:memory:/a\n0::/b", hybrid, ("cgroup", "memory"), Some("/sys/fs/cgroup/memory/a")),
            ("4:cpu,memory:/a", hybrid, ("cgroup", "memory"), Some("/sys/fs/cgroup/memory/a")),
            // its own namespace shows another root than the mount has
            ("0::/elsewhere", container, ("cgroup2", ""), None),
            ("", unified, ("cgroup2", ""), None),
        ] {
            let found = own(groups, mounts, kind.0, kind.1);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{groups:?}");
        }
    }
}
