//! The private servers leave nothing behind, however a test process ends.

use std::{
    env, fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use attune_tests::{dev::wait_for, postgres::Server, rabbitmq::Broker};

/// Set for a test process that shall be killed: where it writes which server it has.
const REPORT: &str = "TEST_OF_THE_HARNESS_REPORT";

#[test]
fn a_database_server_ends_with_its_owner() {
    let server = Server::start();
    let (folder, address) = (server.folder().to_owned(), server.address());
    ends_with_its_owner(server, &folder, &address);
}

#[test]
fn a_broker_ends_with_its_owner() {
    let broker = Broker::start();
    let (folder, address) = (broker.folder().to_owned(), broker.address());
    ends_with_its_owner(broker, &folder, &address);
}

fn ends_with_its_owner<Server>(server: Server, folder: &Path, address: &str) {
    assert!(TcpStream::connect(address).is_ok());
    if let Some(report) = env::var_os(REPORT) {
        let beside = PathBuf::from(&report).with_extension("new");
        fs::write(&beside, format!("{}\n{address}", folder.display())).unwrap();
        fs::rename(beside, report).unwrap();
        loop {
            std::thread::park();
        }
    }
    drop(server);
    assert!(!folder.exists());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_database_server_ends_with_a_test_process_that_is_killed() {
    ends_with_a_test_process_that_is_killed("harness::a_database_server_ends_with_its_owner");
}

#[test]
fn a_broker_ends_with_a_test_process_that_is_killed() {
    ends_with_a_test_process_that_is_killed("harness::a_broker_ends_with_its_owner");
}

fn ends_with_a_test_process_that_is_killed(test: &str) {
    let own = tempfile::tempdir().unwrap();
    let report = own.path().join("report");
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", test])
        .env(REPORT, &report)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the other process to start a server", || {
        assert!(process.try_wait().unwrap().is_none(), "it ended");
        report.exists()
    });
    let reported = fs::read_to_string(&report).unwrap();
    let (folder, address) = reported.split_once('\n').unwrap();
    assert!(TcpStream::connect(address).is_ok() && fs::exists(folder).unwrap());
    process.kill().unwrap();
    process.wait().unwrap();
    wait_for("the server to end", || TcpStream::connect(address).is_err());
    wait_for("its folder to go", || !fs::exists(folder).unwrap());
}
