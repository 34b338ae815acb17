//! A whole fleet on PostgreSQL alone, with the real programs: an API, two agents in the role of agents, and TLS between.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Child,
};

use attune_tests::{
    agent,
    binaries::workspace,
    control_plane::ControlPlane,
    dev::wait_for,
    postgres::{self, Database, PASSWORD},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Every action of the pack `examples` that answers.
const EXAMPLES: [&str; 8] = [
    "checksum_files",
    "summarise_csv",
    "render_template",
    "analyse_access_log",
    "check_certificate",
    "plan_meeting",
    "fit_trend",
    "redact_text",
];

pub(super) struct Agent {
    pub(super) name: String,
    log: PathBuf,
    child: Child,
}

impl Agent {
    /// Starts one that keeps what it keeps in a folder, on the database of a URL, with further variables.
    pub(super) fn start(name: &str, folder: &Path, url: &str, environment: &[(&str, &str)]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let child = agent::agent()
            .env("ATTUNE__DATABASE__URL", url)
            .env("ATTUNE__WORKER__NAME", name)
            .env("ATTUNE__WORKER__LEASE", "3s")
            .env("ATTUNE__WORKER__HEARTBEAT_INTERVAL", "500ms")
            .env("ATTUNE__WORKER__CACHE_DIR", folder.join(name))
            .env("RUST_LOG", "debug")
            .envs(environment.iter().copied())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), log, child }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) struct Fleet {
    pub(super) folder: TempDir,
    pub(super) plane: ControlPlane,
    pub(super) agents: Vec<Agent>,
}

impl Fleet {
    pub(super) fn start(database: &Database<'_>) -> Self {
        let url = secured(database, "attune_agent");
        Self::start_with(database, [&url, &url], &[])
    }

    /// Starts one whose agents reach the database by these URLs, and all of whose programs have these variables.
    pub(super) fn start_with(
        database: &Database<'_>,
        agents: [&str; 2],
        environment: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let usual = [("ATTUNE__WORKER__LEASE", "3s"), ("RUST_LOG", "debug")];
        let plane = ControlPlane::start_on(&secured(database, "attune_api"), &[&usual, environment].concat());
        let agents: Vec<Agent> = ["one", "two"]
            .iter()
            .zip(agents)
            .map(|(name, url)| Agent::start(name, folder.path(), url, environment))
            .collect();
        wait_for("both agents to register", || {
            let workers = plane.attune(&["workers"]);
            workers["workers"].as_array().unwrap().len() == agents.len()
        });
        Self { folder, plane, agents }
    }

    pub(super) fn show(&self, id: &str) -> Value {
        self.plane.attune(&["executions", "show", id])
    }

    /// Submits an action of [`Fleet::push`]ed pack, and waits until an agent runs it. Gives its id and the agent's place.
    pub(super) fn running(&self, action: &str, marker: &Path) -> (String, usize) {
        let parameter = format!("marker={}", marker.display());
        let submitted = self.plane.attune(&["run", action, "--param", &parameter, "--detach"]);
        let id = submitted["id"].as_str().unwrap().to_owned();
        wait_for("the action to start", || fs::read_to_string(marker).is_ok_and(|text| text.contains("1\n")));
        let shown = self.show(&id);
        let place = self.agents.iter().position(|agent| shown["worker"] == json!(agent.name));
        (id, place.unwrap_or_else(|| panic!("one of the agents runs it: {shown:#}")))
    }

    /// A pack of actions that say which attempt they are and which process, run until they are told to end, and say that, too.
    pub(super) fn push(&self) {
        let pack = self.folder.path().join("pack");
        fs::create_dir_all(pack.join("actions")).unwrap();
        fs::write(pack.join("pack.yaml"), "ref: fleet\nversion: 1.0.0\n").unwrap();
        for (name, attempts) in [("once", 1), ("twice", 2)] {
            let manifest = format!(
                "ref: fleet.{name}\nrunner_type: shell\nentry_point: wait.sh\nmax_attempts: {attempts}\n\
                 parameter_delivery: env\nparameters: {{marker: {{type: string, required: true}}}}\n"
            );
            fs::write(pack.join(format!("actions/{name}.yaml")), manifest).unwrap();
        }
        let script = "echo $$ >\"$ATTUNE_ACTION_MARKER.pid-$ATTUNE_ATTEMPT\"\necho \"$ATTUNE_ATTEMPT\" >>\"$ATTUNE_ACTION_MARKER\"\n\
                      while [ ! -e \"$ATTUNE_ACTION_MARKER.end\" ]; do sleep 0.05; done\n\
                      echo \"$ATTUNE_ATTEMPT\" >>\"$ATTUNE_ACTION_MARKER.ended\"\n";
        fs::write(pack.join("actions/wait.sh"), script).unwrap();
        self.plane.push(&pack);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_run_and_a_killed_agent_loses_nothing() {
    let database = postgres::shared().database_with_roles().await;
    let printed = tokio::task::block_in_place(|| {
        let mut fleet = Fleet::start(&database);
        fleet.plane.push(&workspace().join("packs/examples"));
        for example in EXAMPLES {
            let ended = fleet.plane.attune(&["run", &format!("examples.{example}")]);
            assert_eq!(ended["status"], "succeeded", "{example}: {ended:#}");
        }

        fleet.push();
        let marker = fleet.folder.path().join("twice");
        let (twice, first) = fleet.running("fleet.twice", &marker);
        kill(&mut fleet.agents[first]);
        wait_for("the other agent to start it again", || {
            fs::read_to_string(&marker).unwrap().contains("2\n")
        });
        fs::write(fleet.folder.path().join("twice.end"), "").unwrap();
        wait_for("its end", || fleet.show(&twice)["status"] != "running");
        let ended = fleet.show(&twice);
        let other = &fleet.agents[1 - first].name;
        assert_eq!(
            (&ended["status"], &ended["attempt"], &ended["worker"]),
            (&json!("succeeded"), &json!(2), &json!(other))
        );
        assert_eq!(fs::read_to_string(&marker).unwrap(), "1\n2\n", "one start an attempt");

        let marker = fleet.folder.path().join("once");
        let (once, second) = fleet.running("fleet.once", &marker);
        assert_eq!(second, 1 - first);
        kill(&mut fleet.agents[second]);
        wait_for("the loss to be seen", || fleet.show(&once)["status"] != "running");
        let lost = fleet.show(&once);
        assert_eq!(lost["status"], "lost", "{lost:#}");
        assert!(lost["error"].as_str().unwrap().contains("was not heard of"), "{lost:#}");
        assert_eq!(fs::read_to_string(&marker).unwrap(), "1\n", "and it was not started again");
        fs::write(fleet.folder.path().join("once.end"), "").unwrap();
        let mut printed =
            vec![fleet.plane.log(), format!("{ended}{lost}{}", fleet.plane.attune(&["workers"]))];
        printed.extend(fleet.agents.iter().map(Agent::log));
        printed
    });
    for text in &printed {
        assert!(!text.contains(PASSWORD), "the password was printed");
    }
    assert!(
        printed[0].contains("listening") && printed[2].contains("registered"),
        "it was looked at the right texts"
    );
}

/// The URL of a database for a role, with TLS that checks everything.
pub(super) fn secured(database: &Database<'_>, role: &str) -> String {
    let authority = database.server.authority();
    format!("{}?sslmode=verify-full&sslrootcert={}", database.url(role), authority.display())
}

fn kill(agent: &mut Agent) {
    agent.signal(Signal::KILL);
    agent.child.wait().unwrap();
}
