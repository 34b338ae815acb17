//! What the machine or the container gives a worker: which system, how many processors, how much memory.

use std::fs;

use crate::process;

/// Name and version of the distribution, as it calls itself (os-release(5)).
pub(crate) fn distribution() -> Option<String> {
    let text =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| fs::read_to_string(path).ok())?;
    pretty_name(&text)
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?;
    // quoted as in a shell
    let name = shlex::split(value)?.into_iter().next()?;
    (!name.is_empty()).then(|| name.chars().take(200).collect())
}

/// Processors that may be used, quotas of control groups included.
pub(crate) fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Memory that may be used, in bytes: the least of what the control groups allow and the machine has.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    // "max" is no number, and neither limits
    let groups = process::memory_limits()
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    groups.chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`, which counts in KiB (`proc_meminfo(5)`).
fn total(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_tell_their_names_in_every_quoting() {
        for (text, expected) in [
            (
                "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
                Some("Debian GNU/Linux 12 (bookworm)"),
            ),
            ("PRETTY_NAME='Alpine Linux v3.20'", Some("Alpine Linux v3.20")),
            ("PRETTY_NAME=Void", Some("Void")),
            ("PRETTY_NAME=\"\"", None),
            ("PRETTY_NAME=\"unfinished", None),
            ("NAME=x", None),
        ] {
            assert_eq!(pretty_name(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn memory_is_counted_in_bytes() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 * 1024 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        // this machine has some
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1024 * 1024) && cpus() > 0);
    }
}
