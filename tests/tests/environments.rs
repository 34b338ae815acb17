//! What packs lock is installed for them: by every built-in recipe and by recipes of packs, offline, with real installers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use attune_common::model::{Execution, ExecutionStatus, Outcome, WorkerKind};
use attune_tests::{
    agent::Agent,
    binaries,
    pack::Pack,
    processes::run,
    service::{Machine, runtimes},
};
use attune_worker::{environment::variables, runtime_detect, settings::WorkerSettings};
use serde_json::json;

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

async fn ended(machine: &Machine, name: &str) -> Execution {
    machine.ended(machine.submit(name, json!({})).await).await
}

/// Settings whose search path has no uv, wherever this runs.
fn without_uv(machine: &Machine) -> WorkerSettings {
    let mut settings = machine.settings();
    let path = settings.execution.search_path.clone();
    let folders = std::env::split_paths(&path).filter(|folder| !folder.join("uv").exists());
    settings.execution.search_path = std::env::join_paths(folders).unwrap();
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
async fn uv_builds_python_environments_and_a_project_file_is_enough() {
    let machine = Machine::new().await;
    let wheels = tempfile::tempdir().unwrap();
    wheel(wheels.path());
    let url = format!("file://{}/greet-1.0-py3-none-any.whl", wheels.path().display());
    let pack = Pack::default()
        .file("pyproject.toml", &format!("[project]\nname = 'test'\ndependencies = ['greet @ {url}']\n"))
        .action("project", "py", "runner_type: python\n", PYTHON);
    machine.push_folder(pack.path()).await;
    let mut settings = machine.settings();
    let path = variables::search_path(&[folder_of_uv()], &settings.execution.search_path);
    settings.execution.search_path = path;
    let worker = machine.start_with(settings, runtimes("python").await);
    let ended = ended(&machine, "project").await;
    let log = machine.log(ended.id, 1).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{:?}\n{log}", ended.outcome);
    assert_eq!(ended.outcome.unwrap().result.unwrap()["greet"], "1.0");
    assert!(log.contains("/uv pip install "), "{log}");
    worker.drain().await;
}

#[tokio::test]
async fn node_finds_modules_by_require_and_by_import() {
    let machine = Machine::new().await;
    let pack = Pack::default()
        .file("vendor/greet/package.json", r#"{"name": "greet", "version": "2.0.0", "main": "index.js"}"#)
        .file("vendor/greet/index.js", "module.exports = () => 'hello';")
        .file("package.json", r#"{"name": "test", "dependencies": {"greet": "file:vendor/greet"}}"#)
        .run(&["npm", "install", "--package-lock-only", "--offline", "--no-audit"])
        .file("actions/lib/say.mjs", "import greet from 'greet'; export const say = greet();")
        .action(
            "import",
            "mjs",
            "runner_type: node\n",
            "import greet from 'greet'; import {say} from './lib/say.mjs'; console.log(JSON.stringify([greet(), say]));",
        )
        .action("require", "js", "runner_type: node\n", "console.log(JSON.stringify([require('greet')()]));");
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("node").await);
    assert_eq!(machine.result("import").await, json!(["hello", "hello"]));
    assert_eq!(machine.result("require").await, json!(["hello"]));
    assert_eq!(machine.kept("environments").len(), 1);
    worker.drain().await;
}

const GEM: &str = "Gem::Specification.new { |s| s.name = 'greet'; s.version = '1.2.3'; s.summary = 'x'; s.authors = ['x']; \
                   s.files = ['lib/greet.rb'] }";

const GREET: &str = "module Greet; WORD = 'hello'; end\n";

const GEMFILE_LOCK: &str = "GEM\n  remote: https://rubygems.org/\n  specs:\n    greet (1.2.3)\n\n\
                            PLATFORMS\n  ruby\n\nDEPENDENCIES\n  greet\n";

/// For a gem in a folder of the pack.
const GEMFILE_LOCK_OF_PATH: &str = "PATH\n  remote: gems/greet\n  specs:\n    greet (1.2.3)\n\nGEM\n  specs:\n\n\
                                    PLATFORMS\n  ruby\n\nDEPENDENCIES\n  greet!\n";

/// Runs an action of a pack that requires the gem, and returns from where it came.
async fn required(pack: Pack) -> String {
    let machine = Machine::new().await;
    let script = "require 'greet'; require 'json'; puts JSON.generate([Greet::WORD, $LOADED_FEATURES.grep(/greet.rb/)[0]])\n";
    let pack = pack.action("greet", "rb", "runner_type: ruby\n", script);
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("ruby").await);
    let result = machine.result("greet").await;
    assert_eq!(result[0], "hello");
    worker.drain().await;
    result[1].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn ruby_finds_the_gems_that_the_pack_brings() {
    let gem = Pack::default().file("greet.gemspec", GEM).file("lib/greet.rb", GREET);
    let gem = gem.run(&["gem", "build", "greet.gemspec", "--output", "greet-1.2.3.gem"]);
    for lock in [Some(GEMFILE_LOCK), None] {
        let mut pack = Pack::default().file("Gemfile", "source 'https://rubygems.org'\ngem 'greet'\n");
        if let Some(lock) = lock {
            pack = pack.file("Gemfile.lock", lock);
        }
        fs::create_dir_all(pack.path().join("vendor/cache")).unwrap();
        fs::copy(gem.path().join("greet-1.2.3.gem"), pack.path().join("vendor/cache/greet-1.2.3.gem"))
            .unwrap();
        let place = required(pack).await;
        assert!(place.contains("/cache/environments/"), "with {lock:?} from {place}");
    }
}

#[tokio::test]
async fn ruby_finds_what_a_gemfile_names_with_a_lock_and_without() {
    for lock in [Some(GEMFILE_LOCK_OF_PATH), None] {
        let mut pack = Pack::default()
            .file("Gemfile", "gem 'greet', path: 'gems/greet'\n")
            .file("gems/greet/greet.gemspec", GEM)
            .file("gems/greet/lib/greet.rb", GREET);
        if let Some(lock) = lock {
            pack = pack.file("Gemfile.lock", lock);
        }
        let place = required(pack).await;
        assert!(place.ends_with("/gems/greet/lib/greet.rb"), "with {lock:?} from {place}");
    }
}

#[tokio::test]
async fn perl_finds_the_distributions_that_the_pack_brings() {
    let machine = Machine::new().await;
    let distribution = Pack::default()
        .file("Greet-1.5/lib/Greet.pm", "package Greet;\nour $VERSION = '1.5';\nsub word { 'hello' }\n1;\n")
        .file(
            "Greet-1.5/Makefile.PL",
            "use ExtUtils::MakeMaker; WriteMakefile(NAME => 'Greet', VERSION_FROM => 'lib/Greet.pm');\n",
        )
        .file("Greet-1.5/MANIFEST", "MANIFEST\nMakefile.PL\nlib/Greet.pm\n");
    let pack = Pack::default()
        .file("cpanfile", "requires 'Greet', '1.5';\n")
        .file("vendor/cache/authors/id/M/ME/ME/CHECKSUMS", "")
        .file(
            "vendor/cache/modules/02packages.details.txt",
            "File: 02packages.details.txt\n\nGreet 1.5 M/ME/ME/Greet-1.5.tar.gz\n",
        )
        .run(&["gzip", "vendor/cache/modules/02packages.details.txt"])
        .action(
            "greet",
            "pl",
            "runner_type: perl\n",
            "use Greet; print '[\"', Greet::word(), '\", \"', $INC{'Greet.pm'}, '\"]', \"\\n\";\n",
        );
    let archive = pack.path().join("vendor/cache/authors/id/M/ME/ME/Greet-1.5.tar.gz");
    run(distribution.path(), &["tar", "czf", archive.to_str().unwrap(), "Greet-1.5"]);
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("perl").await);
    let result = machine.result("greet").await;
    assert_eq!(result[0], "hello");
    assert!(result[1].as_str().unwrap().contains("/cache/environments/"), "{result}");
    worker.drain().await;
}

#[tokio::test]
async fn go_finds_the_modules_of_the_pack() {
    let machine = Machine::new().await;
    let pack = Pack::default()
        .file(
            "go.mod",
            "module example.com/test\n\ngo 1.18\n\nrequire example.com/greet v0.0.0\n\nreplace example.com/greet => ./greet\n",
        )
        .file("greet/go.mod", "module example.com/greet\n\ngo 1.18\n")
        .file("greet/greet.go", "package greet\n\nfunc Word() string { return \"hello\" }\n")
        .action(
            "greet",
            "go",
            "runner_type: go\n",
            "package main\n\nimport (\n\t\"example.com/greet\"\n\t\"fmt\"\n)\n\nfunc main() { fmt.Printf(\"%q\\n\", greet.Word()) }\n",
        );
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("go").await);
    assert_eq!(machine.result("greet").await, json!("hello"));
    worker.drain().await;
}

/// A folder that serves the module `example.com/greet` as a proxy does (`go help goproxy`).
fn go_proxy(folder: &Path) {
    let script = r#"
import os, zipfile
os.makedirs("example.com/greet/@v")
os.chdir("example.com/greet/@v")
open("list", "w").write("v1.0.0\n")
open("v1.0.0.info", "w").write('{"Version": "v1.0.0"}')
open("v1.0.0.mod", "w").write("module example.com/greet\n\ngo 1.18\n")
with zipfile.ZipFile("v1.0.0.zip", "w") as module:
    module.write("v1.0.0.mod", "example.com/greet@v1.0.0/go.mod")
    module.writestr("example.com/greet@v1.0.0/greet.go", 'package greet\n\nfunc Word() string { return "hello" }\n')
"#;
    run(folder, &["python3", "-c", script]);
}

#[tokio::test(flavor = "multi_thread")]
async fn go_downloads_modules_once_into_an_environment() {
    let machine = Machine::new().await;
    let proxy = tempfile::tempdir().unwrap();
    go_proxy(proxy.path());
    let url = format!("file://{}", proxy.path().display());
    let script = "package main\n\nimport (\n\t\"example.com/greet\"\n\t\"fmt\"\n\t\"os\"\n)\n\n\
                  func main() { fmt.Printf(\"[%q, %q]\", greet.Word(), os.Getenv(\"GOMODCACHE\")) }\n";
    let cache = tempfile::tempdir().unwrap();
    let tidy = format!(
        "GOPROXY={url} GOSUMDB=off GOMODCACHE={0} GOCACHE={0}/build GOFLAGS=-modcacherw go mod tidy",
        cache.path().display()
    );
    let pack = Pack::default()
        .file("go.mod", "module example.com/test\n\ngo 1.18\n\nrequire example.com/greet v1.0.0\n")
        .action("greet", "go", "runner_type: go\n", script)
        .run(&["sh", "-c", &tidy]);
    machine.push_folder(pack.path()).await;
    let agent = Agent::start(
        &machine,
        &[],
        &[
            ("ATTUNE_WORKER_RUNTIMES", "go"),
            ("ATTUNE__WORKER__PASS_ENVIRONMENT", "GOPROXY,GOSUMDB"),
            ("GOPROXY", &url),
            ("GOSUMDB", "off"),
        ],
    );
    let first = machine.result("greet").await;
    // what is there needs no proxy
    drop(proxy);
    let second = machine.result("greet").await;
    assert_eq!((&first, &first[0]), (&second, &json!("hello")), "{}", agent.log());
    assert!(first[1].as_str().unwrap().contains("/environments/"), "{first}");
}

#[tokio::test]
async fn a_compiled_action_runs_by_itself() {
    let machine = Machine::new().await;
    let source = "#include <stdio.h>\nint main(void) { char text[64]; size_t n = fread(text, 1, 63, stdin);\n\
                  printf(\"{\\\"bytes\\\": %zu}\\n\", n); return 0; }\n";
    let pack = Pack::default()
        .file("source/count.c", source)
        .file(
            "actions/count.yaml",
            "ref: test.count\nrunner_type: native\nentry_point: count\noutput_format: json\nparameters: {text: {type: string}}\n",
        )
        .run(&["cc", "-o", "actions/count", "source/count.c"]);
    machine.push_folder(pack.path()).await;
    let worker = machine.start(machine.settings()).await;
    let ended = machine.ended(machine.submit("count", json!({"text": "12345"})).await).await;
    let outcome = ended.outcome.unwrap();
    assert_eq!(outcome.result, Some(json!({"bytes": "{\"text\":\"12345\"}\n".len()})), "{:?}", outcome.error);
    assert_eq!(outcome.interpreter, None);
    worker.drain().await;
}

/// A recipe for the shell, whose commands are given, and an action that reads what they left.
fn shell_pack(recipe: &str) -> Pack {
    Pack::default()
        .file("shell.lock", "tool 1\n")
        .file("runtimes/sh.yaml", &format!("name: sh\nlock_files: [shell.lock]\n{recipe}"))
        .action("show", "sh", "runner_type: shell\n", "echo \"\\\"$(command -v tool) $TOOL_HOME $0\\\"\"\n")
}

const RECIPE: &str = r##"
create:
  - mkdir '{env_dir}/bin'
install:
  - cp {interpreter} {env_dir}/bin/sh
  - [sh, -c, 'echo "#!{env_dir}/bin/sh" >"$1" && chmod 700 "$1"', sh, "{env_dir}/bin/tool"]
variables: {TOOL_HOME: "{env_dir}"}
path: ["{env_dir}/bin"]
interpreter: "{env_dir}/bin/sh"
"##;

#[tokio::test]
async fn a_pack_brings_its_own_recipe_and_packs_with_the_same_lock_share_what_it_makes() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let worker = machine.start(machine.settings()).await;
    let first = machine.result("show").await;
    let words: Vec<&str> = first.as_str().unwrap().split(' ').collect();
    let environment = Path::new(words[1]);
    assert_eq!(Path::new(words[0]), environment.join("bin/tool"));
    assert_eq!(fs::read_to_string(words[0]).unwrap(), format!("#!{}/bin/sh\n", environment.display()));
    // another version of the pack
    machine.push_folder(shell_pack(RECIPE).file("README.md", "new").path()).await;
    let second = machine.result("show").await;
    assert_eq!(second.as_str().unwrap().split(' ').nth(1), Some(words[1]));
    assert_ne!(second.as_str().unwrap().split(' ').nth(2), Some(words[2]), "it runs the new version");
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (2, 1));
    worker.drain().await;
}

#[tokio::test]
async fn executions_that_need_the_same_environment_at_once_build_it_once() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(machine.submit("show", json!({})).await);
    }
    let mut settings = machine.settings();
    settings.slots = 6;
    let workers = [machine.start(settings.clone()).await, machine.start(settings).await];
    let mut built = 0;
    for id in ids {
        assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
        built += machine.log(id, 1).await.matches("building the environment").count();
    }
    assert_eq!(built, 1);
    for worker in workers {
        worker.drain().await;
    }
}

#[tokio::test]
async fn an_installer_that_fails_says_why_in_the_log_and_in_the_error() {
    let machine = Machine::new().await;
    let recipe = "install:\n  - [sh, -c, 'echo fetching; echo \"no such package: tool\" >&2; exit 3']\n";
    machine.push_folder(shell_pack(recipe).path()).await;
    let worker = machine.start(machine.settings()).await;
    let mut told = Vec::new();
    let ended = ended(&machine, "show").await;
    told.push(format!("{}\n{}", ended.status, ended.outcome.clone().unwrap().error.unwrap()));
    told.push(machine.log(ended.id, 1).await);
    machine.push_folder(shell_pack("install: [no-such-installer]\n").path()).await;
    let ended = self::ended(&machine, "show").await;
    told.push(format!("{}\n{}", ended.status, ended.outcome.unwrap().error.unwrap()));
    let shell = fs::canonicalize("/bin/sh").unwrap();
    insta::with_settings!({filters => vec![
        (machine.folder().to_str().unwrap(), "MACHINE"),
        (shell.to_str().unwrap(), "/bin/sh"),
        (r"[^ `]*/sh -c", "SH -c"),
    ]}, {
        insta::assert_snapshot!(told.join("\n---\n"));
    });
    assert_eq!(machine.kept("environments"), Vec::<String>::new());
    assert_eq!(machine.leftover_workspaces(), 0);
    worker.drain().await;
}

#[tokio::test]
async fn installers_have_the_time_of_the_execution_and_end_with_it() {
    let machine = Machine::new().await;
    let endless = "install:\n  - [sh, -c, 'echo started; while :; do sleep 0.02; done']\n";
    let pack = shell_pack(endless).action("short", "sh", "runner_type: shell\ntimeout: 0.3\n", "exit 0\n");
    machine.push_folder(pack.path()).await;
    let worker = machine.start(machine.settings()).await;
    let cancelled = machine.submit("show", json!({})).await;
    machine.logged(cancelled, 1, "started").await;
    // it waits for the same environment, and no longer than it may
    let late = ended(&machine, "short").await;
    assert_eq!(late.status, ExecutionStatus::TimedOut);
    let Outcome { error, exit_code, signal, .. } = late.outcome.unwrap();
    assert_eq!(
        (error.unwrap().as_str(), exit_code, signal),
        ("not finished after 300ms, its time limit", None, None)
    );
    assert!(
        machine.log(late.id, 1).await.contains("[environment] waiting for another worker that builds it")
    );
    machine.cancel(cancelled).await;
    let ended = machine.ended(cancelled).await;
    assert_eq!(ended.status, ExecutionStatus::Cancelled);
    assert_eq!((ended.outcome.as_ref().unwrap().exit_code, ended.outcome.unwrap().signal), (None, None));
    assert_eq!(
        self::ended(&machine, "short").await.status,
        ExecutionStatus::TimedOut,
        "now its own installer"
    );
    assert_eq!(machine.kept("environments"), Vec::<String>::new());
    worker.drain().await;
}

#[tokio::test]
async fn installers_get_neither_secrets_nor_parameters_nor_what_is_not_passed_on() {
    let machine = Machine::new().await;
    let pack = shell_pack("install: [env, 'cat -']\n").action(
        "secret",
        "sh",
        "runner_type: shell\nparameter_delivery: env\nparameters: {password: {type: string, secret: true}}\n",
        "echo '\"done\"'\n",
    );
    machine.push_folder(pack.path()).await;
    let mut settings = machine.settings();
    // cargo sets both for its tests
    settings.execution.pass_environment = vec!["CARGO_PKG_NAME".to_owned()];
    assert!(std::env::var_os("CARGO_PKG_VERSION").is_some());
    let worker = machine.start(settings).await;
    let id = machine.submit("secret", json!({"password": "correct horse"})).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
    let log = machine.log(id, 1).await;
    let mut names: Vec<&str> = log
        .lines()
        .filter_map(|line| line.strip_prefix("[environment] ")?.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["CARGO_PKG_NAME", "HOME", "LANG", "PATH", "TMPDIR"]);
    assert!(!log.contains("correct horse"));
    worker.drain().await;
}

#[tokio::test]
async fn packs_and_environments_are_read_only_and_nothing_is_written_beside_scripts() {
    let machine = Machine::new().await;
    let pack = Pack::default()
        .file("actions/lib.py", "WORD = 'hello'\n")
        .action("import", "py", "runner_type: python\n", "import json, lib; print(json.dumps(lib.WORD))\n")
        .file("runtimes/shell.yaml", "name: shell\nlock_files: [pack.yaml]\ninstall: ['touch {env_dir}/made']\nvariables: {MADE: '{env_dir}'}\n")
        .action(
            "writable",
            "sh",
            "runner_type: shell\n",
            "find \"$ATTUNE_PACK_DIR\" \"$MADE\" ! -type l -perm /222 ! -name .inside | wc -l\n\
             find \"$ATTUNE_PACK_DIR\" -name '*.pyc' -o -name __pycache__ | wc -l\n",
        );
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("python,shell").await);
    assert_eq!(machine.result("import").await, "hello");
    let ended = ended(&machine, "writable").await;
    let log = machine.log(ended.id, 1).await;
    let counts: Vec<&str> = log.lines().filter(|line| !line.starts_with("[environment]")).collect();
    assert_eq!(counts, ["0", "0"], "{log}");
    worker.drain().await;
}

#[tokio::test]
async fn what_was_not_used_for_long_goes_when_a_worker_starts_but_never_what_runs() {
    let machine = Machine::new().await;
    let pack = shell_pack(RECIPE).action(
        "waits",
        "sh",
        "runner_type: shell\nparameter_delivery: env\nparameters: {file: {type: string}}\n",
        "echo started; while [ ! -e \"$ATTUNE_ACTION_FILE\" ]; do sleep 0.02; done; ls \"$TOOL_HOME\" >/dev/null && echo 1\n",
    );
    machine.push_folder(pack.path()).await;
    let worker = machine.start(machine.settings()).await;
    let flag = machine.folder().join("go");
    let running = machine.submit("waits", json!({"file": flag})).await;
    machine.logged(running, 1, "started").await;
    // one more environment and pack, which nobody uses now
    machine.push_folder(shell_pack(RECIPE).file("shell.lock", "tool 2\n").path()).await;
    machine.result("show").await;
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (2, 2));
    let mut settings = machine.settings();
    settings.execution.environment_max_age = Duration::ZERO;
    let tidy = machine.start(settings.clone()).await;
    while (machine.kept("packs").len(), machine.kept("environments").len()) != (1, 1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tidy.drain().await;
    fs::write(&flag, "").unwrap();
    assert_eq!(
        machine.ended(running).await.status,
        ExecutionStatus::Succeeded,
        "its environment was there to the end"
    );
    worker.drain().await;
    let tidy = machine.start(settings).await;
    while !(machine.kept("packs").is_empty() && machine.kept("environments").is_empty()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tidy.drain().await;
}

#[tokio::test]
async fn a_worker_prepares_all_it_knows_before_it_registers_and_an_agent_does_not() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let agent = machine.start(machine.settings()).await;
    let registered = async |count: usize| {
        while machine.store.workers().await.unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    registered(1).await;
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (0, 0));
    let mut settings = machine.settings();
    "prepared".clone_into(&mut settings.name);
    settings.kind = WorkerKind::Worker;
    let worker = machine.start(settings).await;
    registered(2).await;
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (1, 1));
    agent.drain().await;
    worker.drain().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_while_it_prepares_stops() {
    let machine = Machine::new().await;
    let flag = machine.folder().join("started");
    let recipe =
        format!("install:\n  - [sh, -c, 'touch {}; while :; do sleep 0.02; done']\n", flag.display());
    machine.push_folder(shell_pack(&recipe).path()).await;
    let mut settings = machine.settings();
    settings.kind = WorkerKind::Worker;
    let worker = machine.start(settings).await;
    while !flag.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.drain().await;
    assert!(machine.store.workers().await.unwrap().is_empty());
    assert_eq!(machine.kept("environments"), Vec::<String>::new());
}

#[tokio::test]
async fn attune_worker_tells_its_progress() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let broken = "install:\n  - [sh, -c, 'echo no network; exit 1']\n";
    let other = Pack::default()
        .file("pack.yaml", "ref: broken\nversion: 1.0.0\n")
        .file("lock", "x")
        .file("runtimes/sh.yaml", &format!("name: sh\nlock_files: [lock]\n{broken}"))
        .file("actions/a.yaml", "ref: broken.a\nrunner_type: shell\nentry_point: a.sh\n")
        .file("actions/a.sh", "");
    machine.push_folder(other.path()).await;
    let mut worker = Command::new(binaries::path("attune-worker"))
        .env("ATTUNE__DATABASE__URL", machine.url())
        .env("ATTUNE__WORKER__CACHE_DIR", machine.folder().join("cache"))
        .env("ATTUNE__WORKER__RUNTIMES", "shell=/bin/sh")
        .env("ATTUNE_WORKER_NAME", "w")
        .env_remove("RUST_LOG")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(worker.stderr.take().unwrap())) {
        let line = line.unwrap();
        if line.contains("registered") {
            break;
        }
        told.push(line);
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    insta::with_settings!({filters => vec![
        (machine.folder().to_str().unwrap(), "MACHINE"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\x1b\[[0-9;]*m", ""),
        (r"seconds=\d+", "seconds=N"),
        (r"[^ `]*/sh -c", "SH -c"),
    ]}, {
        insta::assert_snapshot!(told.join("\n"));
    });
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
    let python = BTreeMap::from([("python".to_owned(), PathBuf::from("/usr/bin/python3"))]);
    let detection = runtime_detect::detect(&runtime_detect::Options::configured(&python, "the test")).await;
    let worker = machine.start_with(settings, detection.unwrap());
    // the first one installs, the second one finds it done
    for _ in 0..2 {
        let expected =
            json!({"user": [64995, 64994], "greet": "1.0", "closed": [true, true, true, true], "given": {}});
        assert_eq!(machine.result("who").await, expected);
    }
    assert_eq!(machine.leftover_workspaces(), 0);
    worker.drain().await;
}
