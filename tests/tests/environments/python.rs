//! Python: `venv` with pip, or uv.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use attune_common::model::ExecutionStatus;
use attune_tests::{
    binaries,
    pack::Pack,
    processes::run,
    service::{Machine, configured, runtimes},
};
use attune_worker::{environment::variables, settings::WorkerSettings};
use serde_json::json;

use crate::{ended, path_without};

/// Makes the wheel `greet-1.0-py3-none-any.whl` in a folder: one module, and the metadata without which it is none.
fn wheel(folder: &Path) {
    let script = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + "/greet-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("greet.py", "VERSION = '1.0'\n")
    about = "greet-1.0.dist-info/"
    wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n")
    wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(about + "RECORD", f"greet.py,,\n{about}METADATA,,\n{about}WHEEL,,\n{about}RECORD,,\n")
"#;
    fs::create_dir_all(folder).unwrap();
    run(folder, &["python3", "-c", script, "."]);
}

const PYTHON: &str = r#"
import greet, json, platform, sys
print(json.dumps({"greet": greet.VERSION, "version": platform.python_version(), "prefix": sys.prefix}))
"#;

/// Settings whose search path has no uv, wherever this runs.
fn without_uv(machine: &Machine) -> WorkerSettings {
    let mut settings = machine.settings();
    settings.execution.search_path = path_without("uv", &settings.execution.search_path);
    settings
}

/// The folder of uv, which Debian does not have.
fn folder_of_uv() -> PathBuf {
    let on_path =
        std::env::split_paths(&variables::inherited_path()).find(|folder| folder.join("uv").is_file());
    on_path.unwrap_or_else(|| {
        let output = Command::new(binaries::workspace().join("tests/tools")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

#[tokio::test]
async fn each_of_several_pythons_has_an_environment_and_the_highest_in_range_runs() {
    let detection = runtimes("python").await;
    let mut versions: Vec<semver::Version> = detection.runtimes[0]
        .interpreters
        .iter()
        .filter_map(|interpreter| interpreter.version.clone())
        // older ones have no venv that knows wheels
        .filter(|version| *version >= semver::Version::new(3, 8, 0))
        .collect();
    versions.sort();
    versions.dedup();
    let [.., lower, highest] = versions.as_slice() else {
        panic!("two versions of Python are needed: install python3 and pypy3 with pypy3-venv")
    };
    let machine = Machine::new().await;
    let pack = Pack::default()
        .file("requirements.txt", "--no-index\n--find-links wheels\ngreet==1.0\n")
        .action("highest", "py", "runner_type: python\nruntime_version: \">=3.8\"\n", PYTHON)
        .action(
            "lower",
            "py",
            &format!("runner_type: python\nruntime_version: \">=3.8, <{highest}\"\n"),
            PYTHON,
        );
    wheel(&pack.path().join("wheels"));
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(without_uv(&machine), detection);
    let environments = machine.folder().join("cache/environments");
    for (name, version) in [("highest", highest), ("lower", lower)] {
        let result = machine.result(name).await;
        assert_eq!((&result["greet"], &result["version"]), (&json!("1.0"), &json!(version.to_string())));
        assert!(Path::new(result["prefix"].as_str().unwrap()).starts_with(&environments), "{result}");
    }
    assert_eq!(machine.kept("environments").len(), 2);
    // the second time nothing is installed
    let again = ended(&machine, "lower").await;
    let log = machine.log(again.id, 1).await;
    assert!(!log.contains("[environment]"), "{log}");
    worker.drain().await;
}

#[tokio::test]
async fn a_project_file_is_enough_for_uv_and_for_pip() {
    for with_uv in [true, false] {
        let machine = Machine::new().await;
        let wheels = tempfile::tempdir().unwrap();
        wheel(wheels.path());
        let url = format!("file://{}/greet-1.0-py3-none-any.whl", wheels.path().display());
        let pack = Pack::default()
            .file("pyproject.toml", &format!("[project]\nname = 'test'\ndependencies = ['greet @ {url}']\n"))
            .action("project", "py", "runner_type: python\n", PYTHON);
        machine.push_folder(pack.path()).await;
        let mut settings = without_uv(&machine);
        if with_uv {
            let path = variables::search_path(&[folder_of_uv()], &settings.execution.search_path);
            settings.execution.search_path = path;
        }
        let worker = machine.start_with(settings, runtimes("python").await);
        let ended = ended(&machine, "project").await;
        let log = machine.log(ended.id, 1).await;
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "{:?}\n{log}", ended.outcome);
        assert_eq!(ended.outcome.unwrap().result.unwrap()["greet"], "1.0");
        assert_eq!(log.contains("/uv pip install "), with_uv, "{log}");
        worker.drain().await;
    }
}

#[tokio::test]
async fn another_user_builds_and_uses_an_environment_and_cannot_change_it() {
    let machine = Machine::new().await;
    // the way to the cache is open, as to /var/cache
    fs::set_permissions(machine.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = r#"
import greet, json, os, sys
def refused(path):
    try:
        open(path, "w")
    except PermissionError:
        return True
for folder in (os.environ["HOME"], os.environ["TMPDIR"], os.environ["ATTUNE_ARTIFACTS_DIR"], "."):
    open(f"{folder}/mine", "w").write("mine")
with open(os.environ["ATTUNE_PARAMETERS_FILE"]) as parameters:
    given = json.load(parameters)
closed = [refused(place) for place in (greet.__file__, sys.prefix + "/new", __file__, os.environ["ATTUNE_PACK_DIR"] + "/new")]
print(json.dumps({"user": [os.getuid(), os.getgid()], "greet": greet.VERSION, "closed": closed, "given": given}))
"#;
    let pack = Pack::default()
        .file("requirements.txt", "--no-index\n--find-links wheels\ngreet==1.0\n")
        .action("who", "py", "runner_type: python\nparameter_delivery: file\n", script);
    wheel(&pack.path().join("wheels"));
    machine.push_folder(pack.path()).await;
    let mut settings = without_uv(&machine);
    settings.execution.confinement.run_as = Some("64995:64994".parse().unwrap());
    let worker = machine.start_with(settings, configured("python", "/usr/bin/python3").await);
    // the first one installs, the second one finds it done
    for _ in 0..2 {
        let expected =
            json!({"user": [64995, 64994], "greet": "1.0", "closed": [true, true, true, true], "given": {}});
        assert_eq!(machine.result("who").await, expected);
    }
    assert_eq!(machine.leftover_workspaces(), 0);
    worker.drain().await;
}
