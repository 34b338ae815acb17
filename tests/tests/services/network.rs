//! The networks of the fault suite fail as networks do.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use attune_tests::proxy::{Break, Mode, Proxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A network before a service that sends everything back.
async fn network() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Proxy::start(address).await
}

async fn echoed(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").await.unwrap();
    let mut answer = [0];
    let read = tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut answer)).await;
    read.is_ok_and(|read| read.is_ok()) && answer == *b"x"
}

#[tokio::test]
async fn what_is_slow_arrives_later_in_each_direction() {
    let network = network().await;
    let mut stream = TcpStream::connect(network.address()).await.unwrap();
    assert!(echoed(&mut stream).await);
    network.set(Mode::Delay(Duration::from_millis(50)));
    let start = Instant::now();
    assert!(echoed(&mut stream).await && start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn what_lost_something_is_silent_for_ever_and_what_lost_nothing_goes_on() {
    let network = network().await;
    let mut talking = TcpStream::connect(network.address()).await.unwrap();
    let mut resting = TcpStream::connect(network.address()).await.unwrap();
    assert!(echoed(&mut talking).await && echoed(&mut resting).await);
    network.set(Mode::Swallow);
    let mut new = TcpStream::connect(network.address()).await.unwrap();
    assert!(!echoed(&mut talking).await && !echoed(&mut new).await);
    network.set(Mode::Pass);
    assert!(!echoed(&mut talking).await && !echoed(&mut new).await);
    assert!(echoed(&mut resting).await);
    assert!(echoed(&mut TcpStream::connect(network.address()).await.unwrap()).await);
}

#[tokio::test]
async fn connections_end_in_order_or_with_a_reset() {
    let network = network().await;
    for how in [Break::Cut, Break::Reset] {
        let mut stream = TcpStream::connect(network.address()).await.unwrap();
        assert!(echoed(&mut stream).await);
        network.end_connections(how);
        let end = stream.read(&mut [0]).await;
        match how {
            Break::Cut => assert_eq!(end.unwrap(), 0),
            Break::Reset => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        assert!(echoed(&mut TcpStream::connect(network.address()).await.unwrap()).await, "new ones work");
    }
}
