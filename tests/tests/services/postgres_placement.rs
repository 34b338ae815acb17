//! Who takes what in a fleet of the real programs, and what a real agent says of itself.

use std::{fs, path::Path};

use attune_tests::{
    agent,
    control_plane::ControlPlane,
    dev::{shown, wait_for},
    postgres,
};
use serde_json::{Value, json};

use crate::postgres_fleet::{Agent, secured};

/// A pack of three actions that do nothing, each for other workers.
fn push(plane: &ControlPlane, folder: &Path) {
    fs::create_dir_all(folder.join("actions")).unwrap();
    fs::write(folder.join("pack.yaml"), "ref: place\nversion: 1.0.0\n").unwrap();
    fs::write(folder.join("actions/nothing.sh"), "").unwrap();
    for (name, keys) in
        [("any", ""), ("labelled", "labels: {gpu: nvidia}\n"), ("tolerant", "tolerations: [dedicated=ml]\n")]
    {
        let manifest = format!("ref: place.{name}\nrunner_type: shell\nentry_point: nothing.sh\n{keys}");
        fs::write(folder.join(format!("actions/{name}.yaml")), manifest).unwrap();
    }
    plane.push(folder);
}

/// The runtimes of a report or of a worker: name, and path and version of every interpreter.
fn runtimes(value: &Value) -> Vec<(String, Vec<(String, String)>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let interpreters = |runtime: &Value| {
        let interpreters = runtime["interpreters"].as_array().unwrap().iter();
        interpreters.map(|one| (text(&one["path"]), text(&one["version"]))).collect()
    };
    let runtimes = value["runtimes"].as_array().unwrap().iter();
    runtimes.map(|runtime| (text(&runtime["name"]), interpreters(runtime))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_taints_and_cordons_decide_and_a_worker_tells_what_it_found() {
    let database = postgres::shared().database_with_roles().await;
    tokio::task::block_in_place(|| {
        let folder = tempfile::tempdir().unwrap();
        let plane = ControlPlane::start_on(&secured(&database, "attune_api"), &[]);
        push(&plane, &folder.path().join("pack"));
        let url = secured(&database, "attune_agent");
        let start = |name, environment: &[_]| Agent::start(name, folder.path(), &url, environment);
        let labels = ("ATTUNE__WORKER__LABELS", "gpu=nvidia");
        let _labelled = start("labelled", &[labels]);
        let only_shell = ("ATTUNE_WORKER_RUNTIMES", "shell");
        let _tainted = start("tainted", &[("ATTUNE__WORKER__TAINTS", "dedicated=ml"), only_shell]);
        let workers = || plane.attune(&["workers"])["workers"].as_array().unwrap().clone();
        wait_for("both agents to register", || workers().len() == 2);

        let submit = |action: &str| {
            let submitted = plane.attune(&["run", &format!("place.{action}"), "--detach"]);
            submitted["id"].as_str().unwrap().to_owned()
        };
        let show = |id: &str| plane.attune(&["executions", "show", id]);
        let taken_by = |id: &str| {
            wait_for("the end of an execution", || show(id)["status"] == "succeeded");
            show(id)["worker"].clone()
        };
        for action in ["any", "labelled"] {
            assert_eq!(taken_by(&submit(action)), "labelled", "{action}");
        }

        let cordoned = plane.attune(&["workers", "cordon", "labelled", "--reason", "new disk"]);
        assert_eq!(cordoned["workers"][0]["status"], "cordoned", "{cordoned:#}");
        let listed = plane.command(&["workers"]).output().unwrap();
        assert!(shown(&listed).contains("new disk"), "{}", shown(&listed));
        let waiting = [submit("any"), submit("labelled")];
        // what comes later passes by
        assert_eq!(taken_by(&submit("tolerant")), "tainted");
        for id in &waiting {
            assert_eq!(show(id)["status"], "queued");
        }
        let _ = plane.attune(&["workers", "uncordon", "labelled"]);
        for id in &waiting {
            assert_eq!(taken_by(id), "labelled");
        }

        let output = agent::agent().args(["--detect-only", "--format", "json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let workers = workers();
        let row = workers.iter().find(|worker| worker["name"] == "labelled").unwrap();
        assert_eq!(runtimes(row), runtimes(&report));
        assert_eq!(
            (&row["architecture"], &row["operating_system"]),
            (&report["host"]["arch"], &report["host"]["os"])
        );
        assert_eq!(
            (&row["auto_detected"], &row["kind"], &row["version"], &row["labels"]),
            (&json!(true), &json!("agent"), &json!(env!("CARGO_PKG_VERSION")), &json!({"gpu": "nvidia"}))
        );
        let system = fs::read_to_string("/etc/os-release").unwrap();
        assert!(system.contains(row["distribution"].as_str().unwrap()), "{row:#}");
        assert_eq!(row["libc"], "glibc");
        assert_eq!(row["cpus"], std::thread::available_parallelism().unwrap().get());
        assert!(row["memory_bytes"].as_u64().unwrap() > 100_000_000, "{row:#}");

        let offered = plane.attune(&["runtimes"]);
        let names: Vec<&str> =
            offered["runtimes"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        let mut found: Vec<String> = runtimes(&report).into_iter().map(|(name, _)| name).collect();
        found.sort();
        assert_eq!(names, found, "{offered:#}");
    });
}
