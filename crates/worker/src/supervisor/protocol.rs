//! What worker and supervisor say to each other: JSON documents, each behind its length.
//!
//! Both are the same program, so that the form needs no version.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::confinement::Confinement;

/// Largest message: more than parameters as variables and their JSON form can take.
const MAX_BYTES: u32 = 256 * 1024 * 1024;

/// The first message to the supervisor: what to start, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// What the list of processes shows for the supervisor.
    pub(crate) title: String,
    /// Whether the action's standard input is the supervisor's; otherwise it is empty.
    pub(crate) with_input: bool,
    /// Program and arguments.
    pub(crate) command: Vec<OsString>,
    /// Every variable.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Working directory.
    pub(crate) directory: PathBuf,
    /// User and limits.
    pub(crate) confinement: Confinement,
    /// A control group of version 2 to put the action into.
    pub(crate) cgroup: Option<PathBuf>,
    /// A folder to remove when the worker is gone.
    pub(crate) workspace: Option<PathBuf>,
}

/// Later messages to the supervisor.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Send this signal to the action's process group.
    Signal(i32),
    /// End whatever there still is. If the action's own process has ended, others of its group have this long, in milliseconds, to do
    /// what the signal asked of them.
    End { grace_millis: u64 },
}

/// What the supervisor says, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The action runs.
    Started,
    /// It could not be started, for this reason (errno(3)).
    NotStarted { os_error: i32 },
    /// The action's own process has ended; others may go on.
    Ended(Status),
    /// Nothing of the action lives any more.
    Done(Total),
}

/// How a process ended by itself or otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// Nobody saw it: its supervisor was ended from outside, and with it everything that it answered for.
    Unseen,
}

impl Status {
    /// Whether the process was killed, itself or its child, as shells report that.
    #[must_use]
    pub fn is_kill(self) -> bool {
        matches!(self, Self::Signalled(libc::SIGKILL)) || self == Self::Exited(128 + libc::SIGKILL)
    }
}

/// What became of the process, as the end of a sentence about it.
impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exited with status {code}"),
            Self::Signalled(signal) => write!(formatter, "was ended by signal {signal}"),
            Self::Unseen => formatter.write_str("was killed together with its supervisor"),
        }
    }
}

/// What an action and everything that it started came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Largest resident memory of a single process, in bytes.
    pub peak_memory_bytes: u64,
    /// Processor time in user and kernel mode, in microseconds.
    pub cpu_micros: u64,
    /// Processes that outlived the action's own and had to be ended.
    pub outlived: u32,
}

/// Writes a message.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let document = serde_json::to_vec(message)?;
    let length = u32::try_from(document.len()).ok().filter(|length| *length <= MAX_BYTES);
    let length =
        length.ok_or_else(|| io::Error::other("the command and its environment are larger than 256 MiB"))?;
    Ok([&length.to_be_bytes(), document.as_slice()].concat())
}

/// Sends a message from a process without async code.
pub(crate) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Receives a message in a process without async code. An end before the first byte is `UnexpectedEof`.
pub(crate) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut document = vec![0; checked(length)?];
    from.read_exact(&mut document)?;
    Ok(serde_json::from_slice(&document)?)
}

/// Receives a message in the worker. Not cancel-safe.
pub(crate) async fn receive_async<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut document = vec![0; checked(length)?];
    from.read_exact(&mut document).await?;
    Ok(serde_json::from_slice(&document)?)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length);
    if length > MAX_BYTES { Err(io::Error::other("a message is too long")) } else { Ok(length as usize) }
}
