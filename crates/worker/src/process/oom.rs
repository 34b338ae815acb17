//! Whether the kernel ended something because memory ran out.
//!
//! It counts that for every control group: `oom_kill` in `memory.events` (version 2, with everything below it) and in
//! `memory.oom_control` (version 1). Read before and after, the count tells, without a privilege and in any container.

use std::{fs, path::PathBuf};

use super::cgroup::{self, Cgroup};

/// The counters that concern an action, as they were when it started.
pub(super) struct OomKills(Vec<(PathBuf, u64)>);

impl OomKills {
    /// Reads the counters: of the action's own group if the kernel counts there, else of the worker's group.
    pub(super) fn watch(own: Option<&Cgroup>) -> Self {
        let of_action = own.map(|cgroup| cgroup.path().join("memory.events"));
        let of_worker = cgroup::memory_counters();
        Self::of(of_action.filter(|file| file.exists()).map_or(of_worker, |file| vec![file]))
    }

    fn of(files: Vec<PathBuf>) -> Self {
        Self(
            files
                .into_iter()
                .filter_map(|file| Some((count(&file)?, file)))
                .map(|(n, file)| (file, n))
                .collect(),
        )
    }

    /// Whether a count has risen since.
    pub(super) fn happened(&self) -> bool {
        self.0.iter().any(|(file, before)| count(file).is_some_and(|now| now > *before))
    }
}

fn count(file: &PathBuf) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_versions_tell() {
        let folder = tempfile::tempdir().unwrap();
        for (name, before, after) in [
            (
                "memory.events",
                "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n",
                "oom 2\noom_kill 2\n",
            ),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
                "under_oom 0\noom_kill 1\n",
            ),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, before).unwrap();
            let kills = OomKills::of(vec![file.clone(), folder.path().join("absent")]);
            assert!(!kills.happened(), "{name}");
            fs::write(&file, after).unwrap();
            assert!(kills.happened(), "{name}");
        }
    }
}
