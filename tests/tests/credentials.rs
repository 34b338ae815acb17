//! What an action finds when it looks for the credentials of its worker: one test for each way.
//!
//! The agent runs as an ordinary user, and the action under the same user, which is the hard case. Its environment holds a
//! marker, as a password in `ATTUNE__DATABASE__URL` would be there.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use attune_tests::{binaries, control_plane::ControlPlane, dev::wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Starts every credential that the agent is given.
const MARKER: &str = "open-sesame-";

/// An ordinary user that nobody else is.
const USER: &str = "64990";

/// A control plane, an agent of an ordinary user, and an action that looks around.
struct Scene {
    plane: ControlPlane,
    folder: TempDir,
    agent: Child,
}

impl Scene {
    fn new(script: &str) -> Self {
        let plane = ControlPlane::start();
        let pack = tempfile::tempdir().unwrap();
        fs::create_dir(pack.path().join("actions")).unwrap();
        fs::write(pack.path().join("pack.yaml"), "ref: spy\nversion: 1.0.0\n").unwrap();
        for (name, output) in [("look", "text"), ("tell", "json")] {
            let manifest = format!(
                "ref: spy.{name}\nrunner_type: python\nentry_point: look.py\noutput_format: {output}\n\
                 parameters:\n  password: {{type: string, secret: true}}\n"
            );
            fs::write(pack.path().join(format!("actions/{name}.yaml")), manifest).unwrap();
        }
        fs::write(pack.path().join("actions/look.py"), format!("{PRELUDE}{script}")).unwrap();
        plane.push(pack.path());

        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let log = File::create(folder.path().join("agent.log")).unwrap();
        assert!(rustix::process::geteuid().is_root(), "this test becomes another user, which only root can");
        let agent = Command::new("setpriv")
            .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
            // cores as large as they may be
            .args(["bash", "-c", "ulimit -S -c hard && exec \"$0\""])
            .arg(binaries::path("attune-agent"))
            .env_clear()
            .current_dir(folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("ATTUNE_WORKER_RUNTIMES", "python")
            .env("ATTUNE__DATABASE__URL", format!("sqlite://{}", plane.data().join("attune.db").display()))
            .env("ATTUNE__WORKER__CACHE_DIR", folder.path().join("cache"))
            .env("ATTUNE__API__TOKEN", format!("{MARKER}of-the-api"))
            .env("ATTUNE_AGENT_TOKEN", format!("{MARKER}of-the-agent"))
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv can be started: it is in Debian's util-linux");
        let scene = Self { plane, folder, agent };
        wait_for("the agent to register", || {
            scene.plane.attune(&["workers"])["workers"].as_array().is_some_and(|workers| !workers.is_empty())
        });
        scene
    }

    /// Runs the action to its end; returns everything that it said and everything that is kept of it.
    fn run(&self) -> String {
        let parameter = format!("password={MARKER}of-the-parameter");
        let execution = self.plane.attune(&["run", "spy.look", "--param", &parameter]);
        assert_eq!(execution["status"], "succeeded", "{execution}");
        format!("{}\n{execution}", self.plane.logs(&execution).join("\n"))
    }

    fn agent_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("agent.log")).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// What every look needs: the worker's processes, from the parent upwards. Those of other tests start at any moment, and a
/// program is unreadable from its first instruction on, not before.
const PRELUDE: &str = r#"
import glob, os, re, sys
json_parameters = sys.stdin.buffer.read()
MARK = b"open-" + b"sesame-"

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        return f"refused: {error.strerror}".encode()

def workers():
    found, pid = [], os.getppid()
    while b"attune" in read(f"/proc/{pid}/cmdline"):
        found.append(pid)
        pid = int(read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    assert os.getppid() in found, found
    return found
"#;

/// No credential, neither of the worker nor of the control plane, is in a text.
fn assert_clean(text: &str) {
    for secret in [MARKER, "a-token-for-one-test-run"] {
        let at = text.find(secret);
        assert!(
            at.is_none(),
            "{secret} is there: …{}…",
            &text[at.unwrap_or_default()..].chars().take(200).collect::<String>()
        );
    }
}

#[test]
fn not_in_its_environment() {
    let scene = Scene::new("print(sorted(os.environb.items()))");
    let said = scene.run();
    assert!(said.contains("ATTUNE_EXEC_ID"), "{said}");
    assert_clean(&said);
    // the marker is where the test believes it to be
    let environment =
        fs::read(Path::new("/proc").join(scene.agent.id().to_string()).join("environ")).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains(MARKER));
}

#[test]
fn not_in_the_environment_of_its_parents() {
    let scene = Scene::new("for pid in workers(): print('environ of', pid, read(f'/proc/{pid}/environ'))");
    let said = scene.run();
    assert!(
        said.contains(&format!("environ of {} b'refused: Permission denied'", scene.agent.id())),
        "{said}"
    );
    assert_clean(&said);
}

#[test]
fn not_in_the_memory_of_its_parents() {
    let scene = Scene::new(
        r#"
for pid in workers():
    for name in ("maps", "mem", "auxv", "stack"):
        print(name, "of", pid, read(f"/proc/{pid}/{name}")[:200])
    print("attach", pid, os.system(f"gdb -p {pid} -batch -ex 'info proc' >/dev/null 2>&1") != 0)
"#,
    );
    let said = scene.run();
    assert!(said.contains(&format!("mem of {} b'refused: Permission denied'", scene.agent.id())), "{said}");
    assert_clean(&said);
}

#[test]
fn not_through_inherited_descriptors() {
    let scene = Scene::new(
        r#"
for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
    try:
        print("descriptor", number, os.readlink(f"/proc/self/fd/{number}"))
    except OSError:
        pass
for pid in workers():
    print("descriptors of", pid, sorted(os.listdir(f"/proc/{pid}/fd")) if os.access(f"/proc/{pid}/fd", os.R_OK) else "refused")
"#,
    );
    let said = scene.run();
    let own: Vec<&str> = said.lines().filter(|line| line.starts_with("descriptor ")).collect();
    assert_eq!(own.len(), 3, "standard input, output and error: {own:?}");
    assert!(said.contains(&format!("descriptors of {} refused", scene.agent.id())), "{said}");
    assert_clean(&said);
}

#[test]
fn not_in_the_list_of_processes() {
    let scene = Scene::new("for path in glob.glob('/proc/[0-9]*/cmdline'): print(read(path))");
    let said = scene.run();
    assert!(said.contains("supervise-action"), "{said}");
    assert_clean(&said);
}

#[test]
fn not_in_a_core_file() {
    let mut scene = Scene::new("import resource; print('limit', resource.getrlimit(resource.RLIMIT_CORE))");
    assert!(scene.run().contains("limit (0, 0)"), "an action leaves none");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    assert_ne!(limit.maximum, Some(0), "this test needs a shell whose 'ulimit -H -c' is more than 0");
    kill_process(Pid::from_raw(scene.agent.id().cast_signed()).unwrap(), Signal::ABORT).unwrap();
    let status = scene.agent.wait().unwrap();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status), "{status}");
    let names: Vec<_> =
        fs::read_dir(scene.folder.path()).unwrap().flatten().map(|one| one.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("core")), "{names:?}");
}

#[test]
fn not_in_the_log_of_the_agent_nor_in_what_is_stored() {
    let scene = Scene::new("print(len(json_parameters))");
    assert_clean(&scene.run());
    let log = scene.agent_log();
    assert!(log.contains("registered") && log.contains("DEBUG"), "it logs all that it can: {log}");
    assert_clean(&log);
    assert_clean(&scene.plane.log());
}

#[test]
fn not_through_the_api_with_what_it_has() {
    let scene = Scene::new(
        r#"
import http.client, urllib.request
listening = [int(line.split()[1].split(":")[1], 16) for line in open("/proc/net/tcp") if line.split()[3] == "0A"]
answers = {}
for port in listening:
    for path in ("/workers", "/executions", "/packs"):
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2)
            answers[path, port] = answer.status, answer.headers.get("server"), answer.read(300)
        except urllib.error.HTTPError as error:
            answers[path, port] = error.code
        except (OSError, http.client.HTTPException):
            pass  # something else listens there
print("answers", answers)
"#,
    );
    let said = scene.run();
    let port = scene.plane.url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    for path in ["/workers", "/executions", "/packs"] {
        assert!(said.contains(&format!("('{path}', {port}): 401")), "{said}");
    }
    assert_clean(&said);
}

#[test]
fn a_stored_result_shows_no_parameter_that_is_secret() {
    let scene = Scene::new("print(json_parameters.decode())");
    let parameter = format!("password={MARKER}of-the-parameter");
    let execution: Value = scene.plane.attune(&["run", "spy.tell", "--param", &parameter]);
    assert_eq!(execution["result"]["password"], "********", "{execution}");
    assert_clean(&format!("{execution}{}", scene.plane.logs(&execution).join("")));
}
