//! Go: the modules of `go.mod`.

use std::path::Path;

use attune_tests::{
    agent::Agent,
    files,
    pack::Pack,
    processes::run,
    service::{Machine, runtimes},
};
use serde_json::json;

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
                  func main() { fmt.Printf(\"[%q, %q, %q]\", greet.Word(), os.Getenv(\"GOMODCACHE\"), os.Getenv(\"GOCACHE\")) }\n";
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
    // what was compiled is there for the next one
    let compiled = Path::new(first[2].as_str().unwrap());
    let kept = files::below(compiled);
    let is_module = |content: &Vec<u8>| content.windows(17).any(|word| word == b"example.com/greet");
    assert!(kept.values().any(is_module), "{:?}", kept.keys());
}
