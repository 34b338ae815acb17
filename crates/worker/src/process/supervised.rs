//! The worker's side of a supervisor.

use std::{io, pin::pin, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    process::Child,
    task::JoinHandle,
};

use super::{
    Cgroup, ProcessSpec, Status,
    supervisors::{Registered, Waiting},
};
use crate::{
    supervisor::{
        Orphans,
        protocol::{self, Order, Report, Start, Total},
    },
    workspace::ARTIFACTS_VARIABLE,
};

/// A started action with its supervisor. Dropping it ends both: the supervisor sees its socket closed.
pub(super) struct Supervised {
    child: Registered,
    reports: BufReader<OwnedReadHalf>,
    orders: OwnedWriteHalf,
    /// The variable by which what it started can be found when the supervisor is gone.
    mark: Option<String>,
    total: Option<Total>,
}

impl Supervised {
    /// Starts a supervisor and, through it, the action. Nothing is left of it when it has not started by `give_up`.
    pub(super) async fn start(
        spec: ProcessSpec,
        with_input: bool,
        cgroup: Option<&Cgroup>,
        give_up: impl Future<Output = ()>,
    ) -> io::Result<Option<Self>> {
        let mut give_up = pin!(give_up);
        let supervisors = spec.supervisors;
        let mark = spec.environment.iter().find(|(name, _)| name == ARTIFACTS_VARIABLE);
        let mark = mark.map(|(name, value)| format!("{}={}", name.display(), value.display()));
        let start = protocol::encode(&Start {
            title: spec.title,
            with_input,
            command: spec.command,
            environment: spec.environment,
            directory: spec.directory,
            confinement: spec.confinement,
            cgroup: cgroup.map(|cgroup| cgroup.path().to_owned()),
            workspace: spec.workspace,
        })?;
        loop {
            let Waiting { mut child, socket, waited } = supervisors.take()?;
            if !with_input {
                drop(child.process.stdin.take());
            }
            let (reports, orders) = socket.into_split();
            let reports = BufReader::new(reports);
            let mut supervised = Self { child, reports, orders, mark: mark.clone(), total: None };
            let starting = async {
                supervised.orders.write_all(&start).await?;
                protocol::receive_async(&mut supervised.reports).await
            };
            let report = tokio::select! {
                report = starting => report,
                () = &mut give_up => {
                    let _ = supervised.child.process.start_kill();
                    supervised.vanished().await;
                    return Ok(None);
                }
            };
            match report {
                Ok(Report::NotStarted { os_error }) => return Err(io::Error::from_raw_os_error(os_error)),
                Ok(_) => {
                    supervisors.keep_one_waiting();
                    return Ok(Some(supervised));
                }
                Err(error) if waited && never_read(&error) => {
                    tracing::debug!(%error, "the supervisor that waited was killed; starting another one");
                }
                Err(error) => {
                    // it may have started the action all the same
                    supervised.vanished().await;
                    return Err(error);
                }
            }
        }
    }

    /// The process that holds the other ends of the pipes.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child.process
    }

    /// Writes to the action's standard input, beside everything else.
    pub(super) fn feed(&mut self, input: Vec<u8>) -> Option<JoinHandle<()>> {
        let mut stdin = self.child.process.stdin.take()?;
        Some(tokio::spawn(async move {
            // a process that does not read its input is its own business
            let _ = stdin.write_all(&input).await;
        }))
    }

    /// Waits for the end of the action's own process.
    pub(super) async fn ended(&mut self) -> Status {
        match protocol::receive_async(&mut self.reports).await {
            Ok(Report::Ended(status)) => status,
            _ => self.vanished().await,
        }
    }

    /// Waits until the supervisor has something to report, or is gone. Cancel-safe.
    pub(super) async fn report_comes(&mut self) {
        let _ = self.reports.fill_buf().await;
    }

    /// Sends a signal to the action's group.
    pub(super) async fn signal(&mut self, number: i32) {
        self.order(Order::Signal(number)).await;
    }

    /// Asks for the end of whatever there still is. Others of the action's group, which were asked to end with it, have this long;
    /// when it is asked for again meanwhile, they have no time left.
    pub(super) async fn end_all(&mut self, grace: Duration) {
        self.order(Order::End { grace_millis: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }).await;
    }

    /// Waits until nothing of the action lives any more.
    pub(super) async fn done(&mut self) -> Total {
        if self.total.is_none() {
            let report = protocol::receive_async(&mut self.reports).await;
            let total = if let Ok(Report::Done(total)) = report {
                total
            } else {
                self.vanished().await;
                Total::default()
            };
            self.total = Some(total);
            // it exits now; not waiting would leave a zombie until the runtime looks for those
            let _ = self.child.process.wait().await;
        }
        self.total.unwrap_or_default()
    }

    async fn order(&mut self, order: Order) {
        if let Ok(message) = protocol::encode(&order) {
            // a supervisor that is gone has nothing left to end
            let _ = self.orders.write_all(&message).await;
        }
    }

    /// The supervisor was killed: ends what it answered for.
    async fn vanished(&mut self) -> Status {
        self.total.get_or_insert_default();
        // its descriptors are closed before its children are handed over: until it has ended they are not to be found
        let _ = self.child.process.wait().await;
        let (session, mark) = (self.child.id, self.mark.clone());
        let ended = tokio::task::spawn_blocking(move || {
            let is_supervisor = |id| Registered::all().contains(&id);
            Orphans { session, mark: mark.as_deref(), folder: None, is_supervisor: &is_supervisor }.end()
        })
        .await
        // never to be taken for done
        .unwrap_or_else(|error| panic!("ending what an action had started failed: {error}"));
        tracing::warn!(
            processes = ended,
            "the supervisor of an action was killed; ended what the action had started"
        );
        Status::Unseen
    }
}

/// Whether the other end of a socket was closed before all that was written to it had been read, as Linux tells it.
fn never_read(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
