//! Files that actions leave: stored, listed, downloaded, byte for byte; and refused when they are none.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, fs, net::TcpListener, process::Command, time::Duration};

use attune_common::{
    artifact_store::ArtifactStore,
    config::Sources,
    model::{Execution, ExecutionStatus, Outcome},
    store::Fence,
};
use attune_tests::{
    binaries,
    control_plane::ControlPlane,
    dev::{Dev, shown, wait_for},
    files,
    s3::S3Server,
    service::Machine,
    waiting::until,
};
use serde_json::{Value, json};

/// Leaves files of every size with names that shells, URLs and terminals find hard.
const LEAVE: &str = r#"
cd "$ATTUNE_ARTIFACTS_DIR" || exit 1
: >empty
printf 'region,total\nnorth,3\n' >summary.csv
mkdir -p 'deep/er folder' none
printf 'gr\303\266\303\237e\n' >"deep/er folder/$(printf 'gr\303\266\303\237e') #1 50%25?.txt"
printf 'a\000b\377' >"it's \"odd\" & \\ <b>;*"
head -c 20000000 /dev/zero | tr '\000' 'x' >large.bin
"#;

/// What [`LEAVE`] leaves, made by the same script here.
fn expected() -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-c", LEAVE]).env("ATTUNE_ARTIFACTS_DIR", folder.path()).status();
    assert!(made.unwrap().success());
    let files = files::below(folder.path());
    assert_eq!(files.len(), 5);
    files
}

fn push(dev: &Dev, script: &str) {
    let pack = tempfile::tempdir().unwrap();
    fs::create_dir(pack.path().join("actions")).unwrap();
    fs::write(pack.path().join("pack.yaml"), "ref: mine\nversion: 1.0.0\n").unwrap();
    fs::write(pack.path().join("actions/work.sh"), script).unwrap();
    let manifest = "ref: mine.work\nentry_point: work.sh\nrunner_type: shell\n";
    fs::write(pack.path().join("actions/work.yaml"), manifest).unwrap();
    let pushed = dev.attune(["pack", "push", pack.path().to_str().unwrap()]);
    assert!(pushed.status.success(), "{}", shown(&pushed));
}

/// Runs [`LEAVE`] and compares what comes back by every way.
fn goes_there_and_back(dev: &Dev) -> String {
    push(dev, LEAVE);
    let ended = dev.json(["run", "mine.work"]);
    assert_eq!(ended["status"], "succeeded", "{ended:#}\n{}", dev.log());
    let id = ended["id"].as_str().unwrap().to_owned();
    let expected = expected();
    let listed = dev.json(["artifacts", "list", &id]);
    assert_eq!(listed["artifacts"], ended["artifacts"]);
    let paths = listed["artifacts"].as_array().unwrap().iter();
    let paths: Vec<&str> = paths.map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, expected.keys().map(String::as_str).collect::<Vec<_>>());
    for one in listed["artifacts"].as_array().unwrap() {
        let content = &expected[one["path"].as_str().unwrap()];
        assert_eq!(one["size"], content.len());
        let single = dev.attune(["artifacts", "download", &id, one["path"].as_str().unwrap(), "--to", "-"]);
        assert!(single.status.success(), "{}", String::from_utf8_lossy(&single.stderr));
        assert_eq!(&single.stdout, content, "{one}");
    }
    let to = tempfile::tempdir().unwrap();
    let all = dev.attune(["artifacts", "download", &id, "--to", to.path().to_str().unwrap()]);
    assert!(all.status.success(), "{}", shown(&all));
    assert_eq!(files::below(to.path()), expected);
    id
}

#[test]
fn what_an_action_leaves_comes_back_byte_for_byte() {
    let dev = Dev::start();
    let id = goes_there_and_back(&dev);
    let stored = files::below(&dev.state_dir().join("artifacts"));
    assert_eq!(stored.len(), 5, "{:?}", stored.keys());

    // what people see of it
    let run = dev.attune(["run", "mine.work"]);
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(told.contains("it left 5 files (19.07 MiB); 'attune artifacts download "), "{}", shown(&run));
    let show = dev.attune(["executions", "show", &id]);
    assert!(String::from_utf8_lossy(&show.stdout).contains("deep/er folder/"), "{}", shown(&show));

    // nothing is written over, and what is not there is told
    let to = tempfile::tempdir().unwrap();
    let file = to.path().join("summary.csv");
    fs::write(&file, "mine").unwrap();
    let download = |arguments: &[&str]| {
        let common = ["artifacts", "download", &id, "--to", to.path().to_str().unwrap()];
        let output = dev.attune(common.iter().chain(arguments));
        let stderr = String::from_utf8_lossy(&output.stderr).replace(to.path().to_str().unwrap(), "DIR");
        (output.status.code(), stderr.replace(&id, "ID"))
    };
    let (refused, message) = download(&["summary.csv"]);
    assert_eq!(refused, Some(2));
    assert_eq!(
        message,
        "attune: DIR/summary.csv is there already; --force writes over it, --to chooses another place\n"
    );
    assert_eq!(download(&[]).0, Some(2), "all or nothing");
    assert_eq!(files::below(to.path()).len(), 1);
    assert_eq!(
        download(&["sumary.csv"]).1,
        "attune: the execution left no artifact 'sumary.csv'; is 'summary.csv' meant?\n"
    );
    assert_eq!(download(&["summary.csv", "--force"]).0, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "region,total\nnorth,3\n");

    // an artifact that somebody changed in the store is not passed on as what it was
    let in_store = dev.state_dir().join(format!("artifacts/executions/{id}/1/summary.csv"));
    fs::write(&in_store, "region,total\nnorth,9\n").unwrap();
    let (changed, message) = download(&["summary.csv", "--force"]);
    assert_eq!(changed, Some(1), "{message}");
    assert!(message.contains("is not what the execution left"), "{message}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "region,total\nnorth,3\n");
}

#[test]
fn the_example_leaves_a_report() {
    let dev = Dev::start();
    let ended = dev.json(["run", "examples.render_template"]);
    let id = ended["id"].as_str().unwrap();
    assert_eq!(ended["artifacts"][0]["path"], "rendered.html", "{ended:#}");
    assert_eq!(ended["artifacts"][0]["media_type"], "text/html");
    let html = dev.attune(["artifacts", "download", id, "rendered.html", "--to", "-"]);
    assert_eq!(String::from_utf8(html.stdout).unwrap(), ended["result"]["text"].as_str().unwrap());
}

#[test]
fn a_bucket_keeps_them_as_a_folder_does() {
    let server = S3Server::start();
    let dev = Dev::start_with(|command| {
        command.envs(server.environment());
    });
    goes_there_and_back(&dev);
    assert!(!dev.state_dir().join("artifacts").exists(), "they are in the bucket and nowhere else");
}

#[test]
fn an_agent_that_is_killed_while_it_stores_leaves_nothing_listed() {
    // a server that takes requests and never answers
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let plane = ControlPlane::start();
    let pack = tempfile::tempdir().unwrap();
    fs::create_dir(pack.path().join("actions")).unwrap();
    fs::write(pack.path().join("pack.yaml"), "ref: mine\nversion: 1.0.0\n").unwrap();
    fs::write(pack.path().join("actions/work.sh"), LEAVE).unwrap();
    let manifest = "ref: mine.work\nentry_point: work.sh\nrunner_type: shell\nmax_attempts: 1\n";
    fs::write(pack.path().join("actions/work.yaml"), manifest).unwrap();
    plane.push(pack.path());
    let cache = tempfile::tempdir().unwrap();
    let mut agent = Command::new(binaries::path("attune-agent"))
        .env("ATTUNE__DATABASE__URL", format!("sqlite://{}", plane.data().join("attune.db").display()))
        .env("ATTUNE__WORKER__CACHE_DIR", cache.path())
        .env("ATTUNE__WORKER__LEASE", "2s")
        .env("ATTUNE__WORKER__HEARTBEAT_INTERVAL", "500ms")
        .env("ATTUNE__ARTIFACTS__URL", "s3://bucket")
        .env("ATTUNE__ARTIFACTS__S3_ENDPOINT", format!("http://{}", silent.local_addr().unwrap()))
        .env("ATTUNE__ARTIFACTS__S3_ACCESS_KEY_ID", "id")
        .env("ATTUNE__ARTIFACTS__S3_SECRET_ACCESS_KEY", "secret")
        .env("ATTUNE_WORKER_RUNTIMES", "shell")
        .env("RUST_LOG", "off")
        .spawn()
        .unwrap();
    let id = plane.attune(&["run", "mine.work", "--detach"])["id"].as_str().unwrap().to_owned();
    // it has begun to store them
    let _connection = silent.accept().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    wait_for("the execution to be lost", || plane.attune(&["executions", "show", &id])["status"] == "lost");
    assert_eq!(plane.attune(&["artifacts", "list", &id]), json!({"artifacts": []}));
}

/// Runs an action on a machine of its own, and gives how it ended.
async fn ended(machine: &Machine, manifest: &str, script: &str) -> Execution {
    machine.push(&[("a", manifest, script)]).await;
    let mut settings = machine.settings();
    settings.execution.artifacts.count = 3;
    settings.execution.artifacts.bytes = 1000;
    let worker = machine.start(settings).await;
    let id = machine.submit("a", json!({})).await;
    let ended = machine.ended(id).await;
    worker.drain().await;
    assert_eq!(machine.leftover_workspaces(), 0);
    ended
}

#[tokio::test]
async fn what_cannot_be_stored_fails_the_execution_with_its_name() {
    let others = tempfile::tempdir().unwrap();
    fs::write(others.path().join("secret"), "of others").unwrap();
    let hard = format!("ln '{}/secret' x", others.path().display());
    let socket = "import socket; socket.socket(socket.AF_UNIX).bind('x')";
    let socket = format!("python3 -c \"{socket}\"");
    let mut told = Vec::new();
    for (what, script) in [
        ("symbolic link", "ln -s /etc/shadow x"),
        ("link to a folder above", "ln -s .. x"),
        ("hard link", hard.as_str()),
        ("named pipe", "mkfifo x"),
        ("socket", &socket),
        ("control character", "touch \"$(printf 'a\\033[2Jb')\""),
        ("not UTF-8", "touch \"$(printf 'a\\377b')\""),
        ("too many", "touch a b c"),
        ("too large", "head -c 1001 /dev/zero >x"),
        ("failed anyway", "ln -s /etc/shadow x; exit 3"),
    ] {
        let machine = Machine::new().await;
        let script = format!("cd \"$ATTUNE_ARTIFACTS_DIR\" && echo fine >good && {script}");
        let ended = ended(&machine, "", &script).await;
        let outcome = ended.outcome.unwrap();
        assert_eq!((ended.status, outcome.artifacts), (ExecutionStatus::Failed, vec![]), "{what}");
        assert_eq!(
            files::below(&machine.artifacts_folder()),
            BTreeMap::new(),
            "{what}: all of it or nothing"
        );
        told.push(format!("{what}: {}", outcome.error.unwrap_or_default()));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn however_it_ends_what_it_left_is_kept() {
    for (manifest, script, status) in [
        ("", "exit 3", ExecutionStatus::Failed),
        ("timeout: 0.2\n", "while :; do sleep 0.02; done", ExecutionStatus::TimedOut),
        ("output_format: json\n", "echo '{'", ExecutionStatus::Failed),
        ("", "kill -9 $$", ExecutionStatus::Failed),
    ] {
        let machine = Machine::new().await;
        let script = format!("echo because >\"$ATTUNE_ARTIFACTS_DIR/why\"; {script}");
        let ended = ended(&machine, manifest, &script).await;
        let left = ended.outcome.unwrap().artifacts;
        assert_eq!((ended.status, left.len()), (status, 1), "{script}");
        assert_eq!(left[0].path, "why");
    }
}

#[tokio::test]
async fn a_cancelled_execution_keeps_what_it_left() {
    let machine = Machine::new().await;
    let script = "echo because >\"$ATTUNE_ARTIFACTS_DIR/why\"; echo started; while :; do sleep 0.02; done";
    machine.push(&[("a", "", script)]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("a", json!({})).await;
    machine.logged(id, 1, "started").await;
    machine.cancel(id).await;
    let ended = machine.ended(id).await;
    assert_eq!((ended.status, ended.outcome.unwrap().artifacts.len()), (ExecutionStatus::Cancelled, 1));
    worker.drain().await;
}

#[tokio::test]
async fn an_attempt_that_is_no_longer_current_leaves_nothing() {
    let machine = Machine::new().await;
    let go = tempfile::tempdir().unwrap();
    let script = "echo $ATTUNE_ATTEMPT >\"$ATTUNE_ARTIFACTS_DIR/f\"; while [ ! -e \"$ATTUNE_ACTION_GO$ATTUNE_ATTEMPT\" ]; do sleep 0.02; done";
    let manifest = "parameter_delivery: env\nparameters: {go: {type: string}}\n";
    machine.push(&[("a", manifest, script)]).await;
    let mut settings = machine.settings();
    // longer than this test: the worker finds out when it wants to record the outcome
    settings.heartbeat_interval = Duration::from_mins(10);
    settings.lease = Duration::from_mins(30);
    let worker = machine.start(settings).await;
    let id = machine.submit("a", json!({"go": go.path().join("go").display().to_string()})).await;
    let first = machine.wait(id, "the first attempt", |one| one.status == ExecutionStatus::Running).await;
    let fence = Fence { execution: id, attempt: 1, worker: first.worker.unwrap() };
    machine.store.release(fence, Outcome::default(), vec![]).await.unwrap();
    machine.wait(id, "the second attempt", |one| one.attempt == 2).await;
    let folder = machine.artifacts_folder();
    let stored = |attempt: u32| files::below(&folder).contains_key(&format!("executions/{id}/{attempt}/f"));
    fs::write(go.path().join("go1"), "").unwrap();
    // the first attempt has ended when its folders are gone
    until("the end of the first attempt", || machine.leftover_workspaces() <= 1).await;
    fs::write(go.path().join("go2"), "").unwrap();
    let ended = machine.ended(id).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 2));
    assert_eq!(ended.outcome.unwrap().artifacts.len(), 1);
    worker.stop.drain();
    // both attempts are over now
    worker.stopped().await;
    assert!(!stored(1) && stored(2), "{:?}", files::below(&folder).keys());
}

#[tokio::test]
async fn a_place_that_takes_nothing_matters_only_to_who_leaves_something() {
    let machine = Machine::new().await;
    machine.push(&[("none", "", "true"), ("some", "", "echo 1 >\"$ATTUNE_ARTIFACTS_DIR/f\"")]).await;
    let sources = Sources {
        file: None,
        environment: vec![("ATTUNE__ARTIFACTS__URL".into(), "file:///proc/attune/artifacts".into())],
    };
    let nowhere = ArtifactStore::open(&sources.load().unwrap().artifacts).unwrap();
    let worker = machine.start_keeping(machine.settings(), nowhere).await;
    let none = machine.submit("none", Value::Object(serde_json::Map::new())).await;
    assert_eq!(machine.ended(none).await.status, ExecutionStatus::Succeeded);
    let some = machine.submit("some", json!({})).await;
    let ended = machine.ended(some).await;
    assert_eq!(ended.status, ExecutionStatus::Failed);
    let error = ended.outcome.unwrap().error.unwrap();
    assert!(error.contains("file:///proc/attune/artifacts: "), "{error}");
    assert!(error.contains("artifacts.url (ATTUNE__ARTIFACTS__URL) says where they go"), "{error}");
    worker.drain().await;
}

#[tokio::test]
async fn no_name_shows_a_secret() {
    let machine = Machine::new().await;
    let manifest =
        "parameter_delivery: env\nparameters: {key: {type: string, secret: true, default: hunter2hunter2}}\n";
    let ended = ended(&machine, manifest, "touch \"$ATTUNE_ARTIFACTS_DIR/a-$ATTUNE_ACTION_KEY\"").await;
    let error = ended.outcome.unwrap().error.unwrap();
    assert_eq!(ended.status, ExecutionStatus::Failed);
    assert_eq!(
        error,
        "its artifacts are not stored: the name of a file holds the value of a secret parameter"
    );
}
