//! Runs one candidate under hard limits: time, output, environment, working directory, process group.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::reject::{self, Rejection};

/// How long the pipes are read after the group is dead: data that is in them already arrives at once, and only a
/// process that left the group can hold them open.
const DRAIN: Duration = Duration::from_millis(100);
/// How long to wait between looks at a child when no `SIGCHLD` comes (it may be blocked in the mask that this process inherited).
const TICK: Duration = Duration::from_millis(50);
/// How long to wait for the kernel to bury a killed process; one in uninterruptible sleep may take forever.
const BURIAL: Duration = Duration::from_secs(1);
/// Pauses before another attempt to start a file that someone is still writing (`ETXTBSY`).
const BUSY: (u32, Duration) = (20, Duration::from_millis(25));

/// The neutral place in which candidates run. Its directories are removed with it.
pub(super) struct Surroundings {
    home: PathBuf,
    cwd: PathBuf,
    path: OsString,
    _directory: Option<tempfile::TempDir>,
}

impl Surroundings {
    /// Makes an empty home and working directory below the first of `places` that can be written, or settles for `/`
    /// where none can (a read-only root file system); `path` becomes the candidates' `PATH`.
    pub(super) fn new(places: &[PathBuf], path: OsString) -> Self {
        let made = places.iter().filter(|place| place.is_absolute()).find_map(|place| {
            let directory = tempfile::Builder::new().prefix("attune-detect-").tempdir_in(place).ok()?;
            let (home, cwd) = (directory.path().join("home"), directory.path().join("cwd"));
            std::fs::create_dir(&home).and_then(|()| std::fs::create_dir(&cwd)).ok()?;
            Some(Self { home, cwd, path: path.clone(), _directory: Some(directory) })
        });
        made.unwrap_or_else(|| {
            tracing::debug!(?places, "no writable temporary directory: candidates run in /");
            Self { home: PathBuf::from("/"), cwd: PathBuf::from("/"), path, _directory: None }
        })
    }

    fn command(&self, program: &Path, args: &[String]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("TMPDIR", if self.home == Path::new("/") { Path::new("/tmp") } else { &self.home })
            .env("LC_ALL", "C")
            // a go that finds a newer version in go.mod or in its settings would download it
            .env("GOTOOLCHAIN", "local")
            .env("GOENV", "off")
            .current_dir(&self.cwd)
            .stdin(nothing())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// An input that ends at once: the null device, or a pipe without a writer where a bare root has no `/dev`.
fn nothing() -> Stdio {
    match std::fs::File::open("/dev/null") {
        Ok(null) => null.into(),
        Err(_) => io::pipe().map_or_else(|_| Stdio::null(), |(reader, _)| reader.into()),
    }
}

/// What may be spent on one candidate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) time: Duration,
    /// Bytes kept of each output; the rest is read and thrown away.
    pub(super) output: usize,
}

/// What a candidate did.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `program` and waits for its end, at most `budget.time`; says how long that took, in any case.
pub(super) async fn run(
    program: &Path,
    args: &[String],
    budget: Budget,
    surroundings: &Surroundings,
) -> (Result<Answer, Rejection>, Duration) {
    let started = Instant::now();
    let result = attempt(program, args, budget, surroundings).await;
    (result, started.elapsed())
}

async fn attempt(
    program: &Path,
    args: &[String],
    budget: Budget,
    surroundings: &Surroundings,
) -> Result<Answer, Rejection> {
    let cannot = |error: &io::Error| Rejection::CannotStart { error: error.to_string() };
    // before the child exists, so that its end cannot be missed
    let mut children = signal(SignalKind::child()).map_err(|error| cannot(&error))?;
    let mut child =
        spawn(&mut surroundings.command(program, args)).await.map_err(|e| reject::explain(program, &e))?;
    let mut group = Group::of(&child);
    let mut stdout = Capture::new(budget.output);
    let mut stderr = Capture::new(budget.output);
    let (out, err) = (child.stdout.take(), child.stderr.take());

    let (in_time, status) = {
        let reading = async { tokio::join!(stdout.fill(out), stderr.fill(err)) };
        tokio::pin!(reading);
        let mut all_read = false;
        let in_time = {
            let ended = group.ended(&mut children);
            let limit = sleep(budget.time);
            tokio::pin!(ended, limit);
            loop {
                tokio::select! {
                    biased;
                    () = &mut ended => break true,
                    _ = &mut reading, if !all_read => all_read = true,
                    () = &mut limit => break false,
                }
            }
        };
        // whatever it left behind goes too; the leader is not reaped yet, so the group's number is still its own
        group.kill();
        let status = timeout(BURIAL, child.wait()).await;
        group.disarm();
        if !all_read {
            let _ = timeout(DRAIN, &mut reading).await;
        }
        (in_time, status)
    };
    if !in_time {
        return Err(Rejection::TimedOut {
            limit_ms: u64::try_from(budget.time.as_millis()).unwrap_or(u64::MAX),
        });
    }
    let status: ExitStatus = match status {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(cannot(&error)),
        Err(_) => return Err(Rejection::CannotStart { error: "its end could not be awaited".to_owned() }),
    };
    Ok(Answer { code: status.code(), signal: status.signal(), stdout: stdout.text(), stderr: stderr.text() })
}

/// Starts a command; a file that is being written at this moment gets a second chance.
async fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut attempts = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < BUSY.0 => {
                attempts += 1;
                sleep(BUSY.1).await;
            }
            other => return other,
        }
    }
}

/// A process group that dies with this value, also when the detection is abandoned halfway.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        Self { leader: child.id().and_then(|id| Pid::from_raw(id.cast_signed())) }
    }

    /// Waits for the leader's end without reaping it: as a zombie it keeps its number from being given to others.
    async fn ended(&mut self, children: &mut tokio::signal::unix::Signal) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Some(leader) = self.leader {
            match waitid(WaitId::Pid(leader), options) {
                Ok(None) => drop(timeout(TICK, children.recv()).await),
                Ok(Some(_)) => return,
                // someone else reaped it, so the number may be another's by now; `wait` will report the loss
                Err(_) => self.disarm(),
            }
        }
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            // it may be empty already
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }

    fn disarm(&mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The beginning of an output.
struct Capture {
    bytes: Vec<u8>,
    limit: usize,
}

impl Capture {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// Reads to the end; what exceeds the limit is dropped, so that the writer is never blocked.
    async fn fill<R: AsyncRead + Unpin>(&mut self, pipe: Option<R>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = vec![0; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
            let room = self.limit - self.bytes.len();
            self.bytes.extend_from_slice(&chunk[..count.min(room)]);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_writable_directory_candidates_run_in_the_root() {
        let places = ["/proc", "/nonexistent", "relative", ""].map(PathBuf::from);
        let surroundings = Surroundings::new(&places, "/usr/bin:/bin".into());
        let budget = Budget { time: Duration::from_mins(1), output: 1024 };
        let args = ["-c", "echo $HOME $TMPDIR; pwd"].map(str::to_owned);
        let (answer, _) = run(Path::new("/bin/sh"), &args, budget, &surroundings).await;
        assert_eq!(answer.unwrap().stdout, "/ /tmp\n/\n");
    }

    #[tokio::test]
    async fn an_output_is_kept_up_to_its_limit() {
        let mut capture = Capture::new(10);
        capture.fill(Some("x".repeat(30_000).as_bytes())).await;
        capture.fill(Some(&b"more"[..])).await;
        assert_eq!(capture.text(), "xxxxxxxxxx");
    }
}
