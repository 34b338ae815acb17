//! Python's modules are compiled once, by the worker, and actions only read what was compiled.

use std::{
    collections::BTreeSet,
    fs::{self, File, FileTimes},
    path::{Path, PathBuf},
    time::Duration,
};

use attune_common::model::WorkerKind;
use attune_tests::{
    pack::Pack,
    service::{Machine, RunningWorker, runtimes},
};
use serde_json::{Value, json};

/// Tells where compiled modules are looked for, and whether the standard library's and the environment's are there.
const LOOK: &str = r#"
import importlib.util, json, os, sys
def compiled(module):
    return os.path.isfile(importlib.util.cache_from_source(module.__file__))
try:
    import greet
    found = {"greet": [compiled(greet), greet.VERSION, greet.__file__]}
except ImportError:
    found = {}
print(json.dumps({"prefix": sys.pycache_prefix, "json": compiled(json), "writes": not sys.dont_write_bytecode} | found))
"#;

/// An environment with one module that no installer has compiled, and one that cannot be compiled.
const RECIPE: &str = r#"
name: python
lock_files: [lock]
create: [["{interpreter}", -m, venv, --without-pip, "{env_dir}"]]
install:
  - [sh, -c, 'cd "$1"/lib/python3*/site-packages && echo "VERSION = 1" >greet.py && echo "no {{ Python" >template.py', sh, "{env_dir}"]
interpreter: "{env_dir}/bin/python"
"#;

fn pack() -> Pack {
    Pack::default().action("look", "py", "runner_type: python\n", LOOK)
}

async fn start(machine: &Machine, kind: WorkerKind) -> RunningWorker {
    let mut settings = machine.settings();
    settings.kind = kind;
    machine.start_with(settings, runtimes("python").await)
}

/// Looks, waits until the worker has compiled everything for whoever looks, and looks again.
async fn look_when_compiled(machine: &Machine) -> Value {
    machine.result("look").await;
    let wait = async {
        while machine.kept("bytecode").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), wait).await.expect("compiled within two minutes");
    machine.result("look").await
}

/// Everything below a folder but the folders of executions, which come and go.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten().map(walkdir::DirEntry::into_path);
    files.filter(|path| !path.starts_with(folder.join("executions"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_compiles_in_the_background_and_actions_write_nothing() {
    let machine = Machine::new().await;
    machine.push_folder(pack().path()).await;
    let worker = start(&machine, WorkerKind::Agent).await;
    let found = look_when_compiled(&machine).await;
    assert_eq!((&found["json"], &found["writes"]), (&json!(true), &json!(false)), "{found}");
    let prefix = Path::new(found["prefix"].as_str().unwrap());
    assert!(prefix.starts_with(machine.folder().join("cache/bytecode")), "{found}");
    let cache = machine.folder().join("cache");
    let before = files_below(&cache);
    assert_eq!(machine.result("look").await["prefix"], found["prefix"]);
    let written: Vec<PathBuf> = files_below(&cache).difference(&before).cloned().collect();
    assert_eq!(written, Vec::<PathBuf>::new());
    assert_eq!(machine.kept("bytecode").len(), 1);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_compiled_before_it_takes_anything() {
    let machine = Machine::new().await;
    machine.push_folder(pack().path()).await;
    let worker = start(&machine, WorkerKind::Worker).await;
    assert_eq!(machine.result("look").await["json"], json!(true));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_environment_holds_is_compiled_for_its_source_and_no_other() {
    let machine = Machine::new().await;
    machine.push_folder(pack().file("runtimes/python.yaml", RECIPE).file("lock", "1").path()).await;
    let worker = start(&machine, WorkerKind::Agent).await;
    let found = look_when_compiled(&machine).await;
    let greet = found["greet"].as_array().unwrap_or_else(|| panic!("{found}"));
    assert_eq!((&greet[0], &greet[1], &found["json"]), (&json!(true), &json!(1), &json!(true)), "{found}");

    // another source of the same name, size and time, as another image may have at the same place
    let source = Path::new(greet[2].as_str().unwrap());
    let time = fs::metadata(source).unwrap().modified().unwrap();
    let folder = source.parent().unwrap();
    for (place, mode) in [(folder, 0o755), (source, 0o644)] {
        fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    fs::write(source, "VERSION = 2\n").unwrap();
    File::options().write(true).open(source).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    let other = machine.result("look").await;
    assert_eq!((&other["prefix"], &other["greet"][1]), (&found["prefix"], &json!(2)), "{other}");
    worker.drain().await;
}
