//! A network between a program and a service, on the loopback device, that can be made slow, cut, or silent.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They arrive.
    Pass,
    /// They arrive, in each direction so much later.
    Delay(Duration),
    /// They vanish, and nobody is told. A connection that lost some stays silent for ever, as its other end would not know
    /// what to do with the rest; new connections are made and never answered.
    Swallow,
}

/// How connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// In order, as when the other end says that it is done.
    Cut,
    /// With a reset, as when the other end has forgotten the connection.
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    /// How many times connections were broken, and how the last time.
    breaks: (u64, Break),
}

/// A running proxy. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts one on a free port, before a service at `target`, as in a URL. It needs a runtime that runs as long as it is used.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, watched) = watch::channel(State { mode: Mode::Pass, breaks: (0, Break::Cut) });
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                // what cannot be accepted is the client's to try again
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(carry(client, target.clone(), watched.clone()));
            }
        });
        Self { address, state, task }
    }

    /// Its address, as in a URL.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what happens to bytes from now on.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Ends every connection that there is now.
    pub fn end_connections(&self, how: Break) {
        self.state.send_modify(|state| state.breaks = (state.breaks.0 + 1, how));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries one connection to its end.
async fn carry(mut client: TcpStream, target: String, mut state: watch::Receiver<State>) {
    let start = *state.borrow_and_update();
    let (outwards, inwards) = (state.clone(), state.clone());
    let broken = async move {
        let broken = state.wait_for(|now| now.breaks.0 != start.breaks.0).await;
        // an error means that the proxy is gone
        broken.map_or(Break::Cut, |now| now.breaks.1)
    };
    tokio::pin!(broken);
    if start.mode == Mode::Swallow {
        let mut nowhere = tokio::io::sink();
        let vanish = tokio::io::copy(&mut client, &mut nowhere);
        tokio::select! { _ = vanish => {}, _ = broken => {} }
        return;
    }
    // a client whose service is not there is told so by the end of its connection
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let lost = AtomicBool::new(false);
    let how = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            () = pump(from_client, to_server, &outwards, &lost) => Break::Cut,
            () = pump(from_server, to_client, &inwards, &lost) => Break::Cut,
            how = broken => how,
        }
    };
    if how == Break::Reset {
        for stream in [&client, &server] {
            let _ = stream.set_zero_linger();
        }
    }
}

/// Carries bytes in one direction until one of the ends is gone.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &watch::Receiver<State>,
    lost: &AtomicBool,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mode = state.borrow().mode;
        match mode {
            Mode::Pass => {}
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::Swallow => lost.store(true, Ordering::Relaxed),
        }
        if !lost.load(Ordering::Relaxed) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
