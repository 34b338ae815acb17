//! What private servers have in common: they are watched, and waited for.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    dev::wait_for,
    processes::{below, parents},
};

/// A process that cleans up after a server when the test process is gone, however it ended.
#[derive(Debug)]
pub(crate) struct Watcher {
    child: Child,
    /// As long as it is open, the watcher waits.
    alive: Option<ChildStdin>,
}

impl Watcher {
    /// Starts a script that reads a line from its standard input, which never comes, and then removes the folder that it is
    /// given. `shell` is the shell, as the user who may do that.
    pub(crate) fn start(mut shell: Command, script: &str, folder: &Path) -> Self {
        let mut child = shell
            .args(["-c", script, "watcher"])
            .arg(folder)
            // what a terminal tells the tests is not for it
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        Self { alive: child.stdin.take(), child }
    }

    /// Lets it do its work, and waits for that.
    pub(crate) fn clean_up(&mut self) {
        drop(self.alive.take());
        let _ = self.child.wait();
    }
}

/// Waits until a server says in its log that it can be used; `false` when it has ended instead.
pub(crate) fn is_up(name: &str, child: &mut Child, log: &Path, ready: &str) -> bool {
    let mut up = false;
    wait_for(&format!("{name} to start"), || {
        up = fs::read_to_string(log).unwrap_or_default().contains(ready);
        up || child.try_wait().unwrap().is_some()
    });
    up
}

/// A server that tests may take away and bring back.
pub trait PrivateServer {
    /// What ends it in order, without waiting for its clients.
    const STOP: Signal;

    /// Its first process.
    fn process(&mut self) -> &mut Child;

    /// Starts it again, on the same ports with the same data.
    fn start_again(&mut self);

    /// Ends it as a crash would.
    fn kill(&mut self) {
        // its children notice, and end themselves
        let _ = self.process().kill();
        let _ = self.process().wait();
    }

    /// Ends it as its owner would.
    fn stop(&mut self) {
        send(self.process().id().cast_signed(), Self::STOP).expect("it runs");
        self.process().wait().expect("it is a child of this process");
    }

    /// Stops its time (SIGSTOP): its connections stay open, and nobody answers.
    fn pause(&mut self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on after [`Self::pause`].
    fn resume(&mut self) {
        self.signal_all(Signal::CONT);
    }

    /// Sends a signal to each of its processes, the first one first: it starts no other meanwhile.
    fn signal_all(&mut self, signal: Signal) {
        let root = self.process().id().cast_signed();
        send(root, signal).expect("it runs");
        for pid in below(root, &parents()) {
            // one that has ended meanwhile needs no signal
            let _ = send(pid, signal);
        }
    }
}

fn send(pid: i32, signal: Signal) -> rustix::io::Result<()> {
    kill_process(Pid::from_raw(pid).expect("a process id"), signal)
}
