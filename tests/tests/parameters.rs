//! Parameters on their way through real interpreters: whatever the delivery, the format and the language, every byte survives.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, path::Path};

use attune_common::model::ExecutionStatus;
use attune_tests::{
    binaries::workspace,
    files,
    service::{Machine, configured, runtimes},
};
use attune_worker::runtime_detect::Detection;
use serde_json::{Value, json};

/// Every built-in runtime with its script in the fixture `echo`.
const SCRIPTS: [(&str, &str); 8] = [
    ("shell", "shell.sh"),
    ("python", "python.py"),
    ("node", "node.js"),
    ("ruby", "ruby.rb"),
    ("go", "go.go"),
    ("java", "Echo.java"),
    ("r", "r.R"),
    ("perl", "perl.pl"),
];

const FORMATS: [&str; 3] = ["json", "dotenv", "yaml"];

/// What trips up programs that pass values through shells, templates or encodings.
const VALUE: &str = "it's \"quoted\" \\ `id` $HOME $(id) %s\ttab\r\n\n  two lines, Grüße, 漢字, 𝄞 🦀 \u{7f}\u{1b}[0m -n --help # end ";

/// The fixture, with an action for every runtime, delivery and format.
fn write_pack(folder: &Path) {
    let fixture = workspace().join("tests/fixtures/echo");
    fs::create_dir_all(folder.join("actions")).unwrap();
    fs::copy(fixture.join("pack.yaml"), folder.join("pack.yaml")).unwrap();
    for (runtime, script) in SCRIPTS {
        fs::copy(fixture.join("actions").join(script), folder.join("actions").join(script)).unwrap();
        for (name, delivery, format) in deliveries() {
            let manifest = format!(
                "ref: echo.{runtime}_{name}\nrunner_type: {runtime}\nentry_point: {script}\n\
                 parameter_delivery: {delivery}\nparameter_format: {format}\nmax_attempts: 1\n\
                 parameters: {{value: {{type: string}}, list: {{type: array}}, none: {{}}}}\n"
            );
            fs::write(folder.join(format!("actions/{runtime}_{name}.yaml")), manifest).unwrap();
        }
    }
}

/// Name, delivery and format of every combination.
fn deliveries() -> Vec<(String, &'static str, &'static str)> {
    let of = |delivery| FORMATS.map(|format| (format!("{delivery}_{format}"), delivery, format));
    ["stdin", "env", "file"].into_iter().flat_map(of).collect()
}

/// Runs the fixture of these runtimes with every delivery in every format.
async fn echoes(detection: Detection, scripts: &[(&str, &str)]) {
    let machine = Machine::new().await;
    let pack = tempfile::tempdir().unwrap();
    write_pack(pack.path());
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), detection);
    let given = json!({"value": VALUE, "list": [1, "zwei", {"drei": null}], "none": null});
    let mut submitted = Vec::new();
    for (runtime, _) in scripts {
        for (name, delivery, format) in deliveries() {
            let action = format!("echo.{runtime}_{name}");
            submitted.push((machine.submit_action(&action, given.clone()).await, action, delivery, format));
        }
    }
    for (id, action, delivery, format) in submitted {
        let ended = machine.ended(id).await;
        let echoed = machine.log(id, 1).await;
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "{action}: {:?}: {echoed}", ended.outcome);
        match (delivery, format) {
            // as variables the format does not matter
            ("env", _) => {
                assert_eq!(echoed, format!("{VALUE}\n[1,\"zwei\",{{\"drei\":null}}]\nnull"), "{action}");
            }
            (_, "json") => assert_eq!(serde_json::from_str::<Value>(&echoed).unwrap(), given, "{action}"),
            (_, "yaml") => {
                let read: Value = attune_common::yaml::parse(&echoed).unwrap();
                assert_eq!(read, given, "{action}");
            }
            _ => {
                let value = VALUE.replace('\'', r"'\''");
                let expected =
                    format!("list='[1,\"zwei\",{{\"drei\":null}}]'\nnone='null'\nvalue='{value}'\n");
                assert_eq!(echoed, expected, "{action}");
            }
        }
    }
    worker.drain().await;
    // nobody wrote anything beside the scripts, which root could in spite of their mode
    let packs = machine.folder().join("cache/packs");
    let [digest] = machine.kept("packs").try_into().expect("one pack");
    assert_eq!(files::below(&fs::canonicalize(packs.join(digest)).unwrap()), files::below(pack.path()));
}

#[tokio::test]
async fn every_value_survives_every_way_into_every_language() {
    let names: Vec<&str> = SCRIPTS.iter().map(|(runtime, _)| *runtime).collect();
    echoes(runtimes(&names.join(",")).await, &SCRIPTS).await;
}

#[tokio::test]
async fn every_value_survives_every_way_into_every_shell() {
    for shell in ["bash", "dash", "busybox"] {
        let path = which::which(shell).unwrap();
        let detection = configured("shell", &path).await;
        assert_eq!(detection.runtimes[0].interpreters[0].path, path);
        echoes(detection, &SCRIPTS[..1]).await;
    }
}

/// Ten times what a pipe of the largest size holds (pipe(7), 1 MiB).
#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_nobody_reads_delay_neither_a_cancellation_nor_a_time_limit_nor_the_end() {
    let machine = Machine::new().await;
    let value = "parameters: {value: {type: string}}\n";
    machine
        .push(&[
            ("stays", value, "echo started; exec sleep 1000"),
            ("late", &format!("timeout: 0.3\n{value}"), "exec sleep 1000"),
            ("leaves", value, "exit 0"),
            ("closes", value, "exec <&-; echo started; exec sleep 1000"),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    let large = json!({"value": "x".repeat(10_000_000)});
    for (name, expected) in [
        ("stays", ExecutionStatus::Cancelled),
        ("late", ExecutionStatus::TimedOut),
        ("leaves", ExecutionStatus::Succeeded),
        ("closes", ExecutionStatus::Cancelled),
    ] {
        let id = machine.submit(name, large.clone()).await;
        if expected == ExecutionStatus::Cancelled {
            machine.logged(id, 1, "started").await;
            machine.cancel(id).await;
        }
        let ended = machine.ended(id).await;
        assert_eq!(ended.status, expected, "{name}: {:?}", ended.outcome);
    }
    worker.drain().await;
}

#[tokio::test]
async fn a_shell_reads_dotenv_lines_as_they_were_meant() {
    let machine = Machine::new().await;
    let manifest = "parameter_format: dotenv\nparameters: {value: {type: string}}\n";
    machine.push(&[("source", manifest, "eval \"$(cat)\"; printf '%s' \"$value\"")]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("source", json!({"value": VALUE})).await;
    machine.ended(id).await;
    assert_eq!(machine.log(id, 1).await, VALUE);
    worker.drain().await;
}

/// Ruby reads YAML by the rules of version 1.1, as Python does: `on` is a truth there, `<<` merges, and `12:30` is a number.
#[tokio::test]
async fn a_reader_of_the_older_yaml_reads_what_was_meant() {
    let machine = Machine::new().await;
    let manifest = "parameter_format: yaml\noutput_format: json\nparameters: {value: {}}\n";
    machine
        .push(&[("read", manifest, "exec ruby -ryaml -rjson -e 'puts JSON.dump(YAML.load($stdin.read))'")])
        .await;
    let worker = machine.start(machine.settings()).await;
    let texts = [
        "on",
        "No",
        "y",
        "~",
        "null",
        "<<",
        "=",
        "1",
        "0x1f",
        "0o17",
        "017",
        "1e3",
        "12:30",
        "2026-11-26",
        ".inf",
        "- a",
        "a: b",
        "#",
        "",
        " ",
        VALUE,
    ];
    let mut value: serde_json::Map<String, Value> =
        texts.iter().map(|text| ((*text).to_owned(), json!(text))).collect();
    value.insert("nested".to_owned(), json!([{"on": [true, null, 1, 2.5, "no"]}, [], {}, [["yes"]]]));
    let given = json!({"value": value});
    let id = machine.submit("read", given.clone()).await;
    let ended = machine.ended(id).await;
    assert_eq!(ended.outcome.unwrap().result, Some(given));
    worker.drain().await;
}

#[tokio::test]
async fn a_nul_is_refused_whatever_the_way() {
    let machine = Machine::new().await;
    let parameters = "parameters: {value: {}}\n";
    let ways = deliveries();
    let manifests: Vec<(String, String)> = ways
        .iter()
        .map(|(name, delivery, format)| {
            (
                name.clone(),
                format!("parameter_delivery: {delivery}\nparameter_format: {format}\n{parameters}"),
            )
        })
        .collect();
    let actions: Vec<(&str, &str, &str)> =
        manifests.iter().map(|(name, manifest)| (name.as_str(), manifest.as_str(), "cat")).collect();
    machine.push(&actions).await;
    let worker = machine.start(machine.settings()).await;
    let mut told = Vec::new();
    for (name, ..) in &ways {
        for value in [json!("a\0b"), json!(["x", {"deep": "\0"}]), json!({"a\0": 1})] {
            let id = machine.submit(name, json!({"value": value})).await;
            let ended = machine.ended(id).await;
            assert_eq!(ended.status, ExecutionStatus::Failed, "{name}");
            told.push(ended.outcome.unwrap().error.unwrap());
        }
    }
    told.dedup();
    insta::assert_snapshot!(told.join("\n"), @"parameter 'value' contains a NUL character, which most languages and no variable can carry: encode it, as in base64");
    worker.drain().await;
}
