//! The contract of the injection, with the real static agent: an init container puts it into a volume, and containers that
//! know nothing of Attune start it from there, read-only, and run actions with the interpreter that they happen to have.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use attune_tests::{
    binaries::workspace,
    control_plane::ControlPlane,
    dev::{shown, wait_for},
    podman::{Container, Podman, Running},
    rootfs, static_agent,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const NOBODY: &str = "65532:65532";
const ROOT: &str = "0:0";

/// What the flake says of the init image: the snapshot of its configuration is compared with the flake by `tests/nix`.
fn init_image() -> Value {
    let snapshot = fs::read(workspace().join("tests/nix/snapshots/images.json")).unwrap();
    let images: Value = serde_json::from_slice(&snapshot).unwrap();
    images["architectures"]["agent-init-image-x86_64"].clone()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// What one machine has: a volume for the agent, a folder for a cache, a control plane, and a podman.
struct Machine {
    folder: TempDir,
    podman: Podman,
    plane: ControlPlane,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["agent", "cache"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        }
        let plane = ControlPlane::start();
        plane.push(&workspace().join("packs/examples"));
        Self { folder, podman: Podman::default(), plane }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the init image's command in a file system with its folders, and gives its line.
    fn install(&self, user: &str) -> String {
        let image = init_image();
        let root = self.folder("image");
        if !root.exists() {
            fs::create_dir(&root).unwrap();
            let made = std::process::Command::new("sh")
                .args(["-euc", image["extraCommands"].as_str().unwrap()])
                .current_dir(&root)
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", shown(&made));
            fs::copy(static_agent::x86_64(), root.join("attune-agent")).unwrap();
        }
        let command = [strings(&image["config"]["Entrypoint"]), strings(&image["config"]["Cmd"])].concat();
        let place = command.last().unwrap();
        let container = Container {
            root: &root,
            user,
            environment: strings(&image["config"]["Env"]),
            volumes: vec![format!("{}:{place}", self.folder("agent").display())],
            command: command.clone(),
            memory: None,
            capabilities: vec![],
        };
        let output = self.podman.run(&container, &format!("init-{}", &user[..1]));
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts the agent in a root file system, and waits until it is registered.
    fn start(&self, root: &Path, user: &str, name: &str, memory: Option<&str>) -> Running<'_> {
        self.start_container(&Container { memory, ..self.container(root, user, name) }, name)
    }

    /// A container with the agent in a root file system.
    fn container<'a>(&self, root: &'a Path, user: &'a str, name: &str) -> Container<'a> {
        let mount = |name: &Path, place: &str| format!("{}:{place}", name.display());
        Container {
            root,
            user,
            environment: vec![
                "ATTUNE__DATABASE__URL=sqlite:///var/lib/attune/attune.db".to_owned(),
                format!("ATTUNE__WORKER__NAME={name}"),
                "ATTUNE__WORKER__CACHE_DIR=/var/cache/attune".to_owned(),
            ],
            volumes: vec![
                mount(&self.folder("agent"), "/opt/attune/agent:ro"),
                mount(&self.plane.data(), "/var/lib/attune"),
                mount(&self.folder("cache"), "/var/cache/attune"),
            ],
            command: vec![rootfs::AGENT.to_owned()],
            memory: None,
            capabilities: vec![],
        }
    }

    fn start_container(&self, container: &Container<'_>, name: &str) -> Running<'_> {
        let mut worker = self.podman.start(container, name);
        wait_for("the worker to register", || {
            assert!(!worker.has_ended(), "{name} has ended:\n{}", worker.log());
            let workers = self.plane.attune(&["workers"]);
            workers.to_string().contains(&format!("\"{name}\""))
        });
        worker
    }

    /// Runs an action in a root file system, and gives the action's standard output.
    fn run(&self, root: &Path, user: &str, runtime: &str, action: &str) -> String {
        let name = format!("{runtime}-{}", &user[..1]);
        let mut worker = self.start(root, user, &name, None);
        let execution = self.plane.attune(&["run", action]);
        let [output, error] = self.plane.logs(&execution);
        assert_eq!(execution["status"], "succeeded", "{execution:#}\n{error}\n{}", worker.log());
        assert_eq!(execution["worker"], name.as_str(), "{execution:#}");
        assert_eq!(worker.stop(), Some(0), "{}", worker.log());
        output
    }
}

/// A root file system runs an action as an ordinary user and as root.
#[track_caller]
fn injects(root: &str, runtime: &str, action: &str) {
    let folder = rootfs::path(root);
    let machine = Machine::new();
    // the image's own user comes first, and root finds its work done
    assert!(machine.install(NOBODY).starts_with("installed /opt/attune/agent/attune-agent (version "));
    assert!(machine.install(ROOT).starts_with("already there: /opt/attune/agent/attune-agent (version "));
    let outputs = [NOBODY, ROOT].map(|user| machine.run(&folder, user, runtime, action));
    assert!(!outputs[0].trim().is_empty(), "the action says nothing");
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn busybox_runs_a_shell_action() {
    injects("busybox", "shell", "examples.checksum_files");
}

#[test]
fn distroless_python_runs_a_python_action() {
    injects("python", "python", "examples.summarise_csv");
}

#[test]
fn node_on_musl_runs_a_node_action() {
    injects("node", "node", "examples.render_template");
}

#[test]
fn ruby_without_a_shell_runs_a_ruby_action() {
    injects("ruby", "ruby", "examples.analyse_access_log");
}

#[test]
fn go_without_a_shell_runs_a_go_action() {
    injects("go", "go", "examples.check_certificate");
}

#[test]
fn java_off_the_search_path_runs_a_java_action() {
    injects("java", "java", "examples.plan_meeting");
}

#[test]
fn r_runs_an_r_action() {
    injects("r", "r", "examples.fit_trend");
}

#[test]
fn a_minimal_debian_runs_a_perl_action() {
    injects("perl", "perl", "examples.redact_text");
}

#[test]
fn memory_that_runs_out_ends_the_action_and_not_the_agent() {
    let folder = rootfs::path("python");
    let machine = Machine::new();
    machine.install(ROOT);
    let pack = tempfile::tempdir().unwrap();
    fs::create_dir(pack.path().join("actions")).unwrap();
    for (name, text) in [
        ("pack.yaml", "ref: greedy\nversion: 1.0.0\n"),
        ("actions/eat.yaml", "ref: greedy.eat\nrunner_type: python\nentry_point: eat.py\n"),
        ("actions/eat.py", "food = []\nwhile True: food.append(bytearray(b'x' * 1_000_000))\n"),
    ] {
        fs::write(pack.path().join(name), text).unwrap();
    }
    machine.plane.push(pack.path());
    let mut worker = machine.start(&folder, ROOT, "small", Some("160m"));
    let execution = machine.plane.attune(&["run", "greedy.eat"]);
    assert_eq!(
        (&execution["status"], &execution["signal"], &execution["oom_killed"], &execution["error"]),
        (
            &"failed".into(),
            &9.into(),
            &true.into(),
            &"the kernel ended the process because memory ran out".into()
        ),
        "{execution:#}\n{}",
        worker.log()
    );
    // the agent is still there, and goes on
    let next = machine.plane.attune(&["run", "examples.summarise_csv"]);
    assert_eq!(next["status"], "succeeded", "{next:#}\n{}", worker.log());
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
}

/// The user, the capabilities and the variables that docker/compose.yaml gives its workers.
struct ComposeWorker {
    user: String,
    capabilities: Vec<String>,
    environment: Vec<String>,
}

impl ComposeWorker {
    fn read() -> Self {
        let text = fs::read_to_string(workspace().join("docker/compose.yaml")).unwrap();
        let document: Value = attune_common::yaml::parse(&text).unwrap();
        let worker = &document["x-worker"];
        let variables = document["x-worker-environment"].as_object().unwrap();
        let own = variables.iter().filter(|(name, _)| name.starts_with("ATTUNE__WORKER__"));
        assert_eq!(strings(&worker["cap_drop"]), ["ALL"]);
        Self {
            user: worker["user"].as_str().unwrap().to_owned(),
            capabilities: strings(&worker["cap_add"]),
            environment: own.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect(),
        }
    }
}

/// Shows the secret that the worker reads from a file, if it can, and whom it runs as.
const LOOKS: &str = "import json, os
try: found = open('/run/secrets/token').read()
except OSError as error: found = error.strerror
print(json.dumps([found, os.getuid(), os.getgid(), os.listdir('.')]))
";

/// Runs an action that looks for a secret of the worker, and gives its result with the worker's log. Where there is no shell, the
/// health check needs none.
fn looks_for_secrets(compose: &ComposeWorker, name: &str, mode: u32) -> (Value, String) {
    let root = rootfs::path("python");
    let machine = Machine::new();
    machine.install(ROOT);
    let pack = tempfile::tempdir().unwrap();
    fs::create_dir(pack.path().join("actions")).unwrap();
    let manifest = "ref: curious.look\nrunner_type: python\nentry_point: look.py\noutput_format: json\n";
    for (name, text) in [
        ("pack.yaml", "ref: curious\nversion: 1.0.0\n"),
        ("actions/look.yaml", manifest),
        ("actions/look.py", LOOKS),
    ] {
        fs::write(pack.path().join(name), text).unwrap();
    }
    machine.plane.push(pack.path());
    let secret = machine.folder("token");
    fs::write(&secret, "open-sesame-of-the-worker").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(mode)).unwrap();
    let mut container = machine.container(&root, &compose.user, name);
    container.capabilities.clone_from(&compose.capabilities);
    container.environment.extend(compose.environment.iter().cloned());
    container.environment.push("ATTUNE__API__TOKEN_FILE=/run/secrets/token".to_owned());
    container.volumes.push(format!("{}:/run/secrets/token:ro", secret.display()));
    let mut worker = machine.start_container(&container, name);
    let health = worker.exec(&[rootfs::AGENT, "healthcheck"]);
    assert!(health.status.success(), "{}\n{}", shown(&health), worker.log());
    let execution = machine.plane.attune(&["run", "curious.look"]);
    assert_eq!(execution["status"], "succeeded", "{execution:#}\n{}", worker.log());
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
    (execution["result"].clone(), worker.log())
}

#[test]
fn actions_of_a_worker_as_compose_runs_it_cannot_read_its_secrets() {
    let (result, log) = looks_for_secrets(&ComposeWorker::read(), "compose", 0o400);
    assert_eq!(result, json!(["Permission denied", 65532, 65532, []]), "{log}");
    assert!(!log.contains("actions can read this file"), "{log}");
}

#[test]
fn a_worker_says_when_actions_can_read_its_secrets() {
    let compose = ComposeWorker::read();
    let (result, log) = looks_for_secrets(&compose, "open-file", 0o444);
    assert_eq!(result[0], "open-sesame-of-the-worker");
    assert!(log.contains("let only the worker's user read it file=/run/secrets/token"), "{log}");
    let nobody = ComposeWorker {
        user: NOBODY.to_owned(),
        capabilities: vec![],
        environment: vec!["ATTUNE__WORKER__HEALTH_ADDR=127.0.0.1:8651".to_owned()],
    };
    let (result, log) = looks_for_secrets(&nobody, "one-user", 0o444);
    assert_eq!(result[0], "open-sesame-of-the-worker");
    assert!(log.contains("start the worker as root, with worker.run_as for the actions"), "{log}");
}

/// What people see when a volume is mounted noexec, as the documentation says.
#[test]
fn a_start_from_a_volume_without_exec_is_refused_by_the_kernel() {
    let folder = rootfs::path("busybox");
    let machine = Machine::new();
    machine.install(ROOT);
    let container = Container {
        root: &folder,
        user: ROOT,
        environment: vec![],
        volumes: vec![format!("{}:/opt/attune/agent:ro,noexec", machine.folder("agent").display())],
        command: vec![rootfs::AGENT.to_owned(), "--version".to_owned()],
        memory: None,
        capabilities: vec![],
    };
    let output = machine.podman.run(&container, "noexec");
    assert_eq!(output.status.code(), Some(126), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ermission denied"), "{}", shown(&output));
}
