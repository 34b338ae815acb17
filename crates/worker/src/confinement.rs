//! What an action is held to, besides its time limit: the user it runs as and the resources it may take.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bounds of one process and everything that it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// User and group to run as; the worker's own when there is none.
    pub run_as: Option<RunAs>,
    /// Limits of resources.
    pub limits: ResourceLimits,
}

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Limits as in `getrlimit(2)`; what is not given stays as the worker has it. A process leaves no core file in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Open files of a process (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Processes and threads of the user (`RLIMIT_NPROC`); root has no such limit.
    pub processes: Option<u64>,
    /// Address space of a process, in bytes (`RLIMIT_AS`).
    pub address_space: Option<u64>,
}

/// Why a text names no user and group.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a user: numbers are expected, as in 1000 or 1000:1000")]
pub struct InvalidRunAs(String);

impl FromStr for RunAs {
    type Err = InvalidRunAs;

    /// Reads `uid` or `uid:gid`; without a group it has the user's number.
    fn from_str(text: &str) -> Result<Self, InvalidRunAs> {
        // the largest number means "unchanged" to the kernel (setresuid(2))
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number != u32::MAX);
        let read = match text.split_once(':') {
            Some((uid, gid)) => number(uid).zip(number(gid)),
            None => number(text).map(|uid| (uid, uid)),
        };
        read.map(|(uid, gid)| Self { uid, gid }).ok_or_else(|| InvalidRunAs(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for (text, expected) in [
            ("1000", Some((1000, 1000))),
            ("1000:50", Some((1000, 50))),
            ("0:0", Some((0, 0))),
            ("nobody", None),
            ("1000:", None),
            (":1", None),
            ("-1", None),
            ("4294967295", None),
            ("", None),
        ] {
            let read = text.parse::<RunAs>().ok().map(|one| (one.uid, one.gid));
            assert_eq!(read, expected, "{text:?}");
        }
    }
}
