//! One attempt with real processes: what an action gets, what is kept of it, and everything that can become of it.

use std::path::Path;

use attune_common::model::{ExecutionStatus, LogStream, Outcome};
use attune_tests::{
    pack::Pack,
    service::{Machine, configured, runtimes},
};
use serde_json::json;

/// What every action has in its environment.
const VARIABLES: [&str; 10] = [
    "ATTUNE_ACTION",
    "ATTUNE_ARTIFACTS_DIR",
    "ATTUNE_ATTEMPT",
    "ATTUNE_EXEC_ID",
    "ATTUNE_PACK_DIR",
    "ATTUNE_PACK_REF",
    "HOME",
    "LANG",
    "PATH",
    "TMPDIR",
];

#[tokio::test]
async fn an_action_runs_and_its_result_and_log_are_recorded() {
    let machine = Machine::new().await;
    let script = "echo working; echo careful >&2; read -r line; echo \"{\\\"got\\\": $line}\"; ls -A \"$HOME\" \"$PWD\"  >&2";
    machine
        .push(&[("a", "output_format: json\nparameters: {n: {type: integer, default: 3}}\n", script)])
        .await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("a", json!({})).await;
    let ended = machine.ended(id).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}");
    let outcome = ended.outcome.unwrap();
    assert_eq!((outcome.exit_code, outcome.result), (Some(0), Some(json!({"got": {"n": 3}}))));
    assert!(outcome.interpreter.unwrap().starts_with("/bin/sh"));
    assert!(
        outcome.peak_memory_bytes.is_some_and(|bytes| bytes > 100_000),
        "{:?}",
        outcome.peak_memory_bytes
    );
    assert!(outcome.cpu_seconds.is_some_and(|seconds| seconds > 0.0), "{:?}", outcome.cpu_seconds);
    let chunks = machine.store.read_log(id, 1, 0, u64::MAX).await.unwrap();
    let of = |stream| {
        let bytes: Vec<u8> =
            chunks.iter().filter(|c| c.stream == stream).flat_map(|c| c.data.clone()).collect();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(of(LogStream::Stdout), "working\n{\"got\": {\"n\":3}}\n");
    assert!(of(LogStream::Stderr).starts_with("careful\n"));
    worker.drain().await;
    assert!(machine.store.workers().await.unwrap().is_empty(), "it has deregistered");
    assert_eq!(machine.leftover_workspaces(), 0);
}

#[tokio::test]
async fn every_byte_is_in_the_stored_log() {
    let machine = Machine::new().await;
    let script = "for high in 0 1 2 3; do for middle in 0 1 2 3 4 5 6 7; do for low in 0 1 2 3 4 5 6 7; do \
                  printf \"\\\\$high$middle$low\"; done; done; done";
    machine.push(&[("bytes", "", script)]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("bytes", json!({})).await;
    let ended = machine.ended(id).await;
    assert_eq!(machine.log_bytes(id, 1).await, (0..=255).collect::<Vec<u8>>(), "{ended:?}");
    worker.drain().await;
}

#[tokio::test]
async fn an_action_has_these_variables_and_no_others() {
    let machine = Machine::new().await;
    let script = "tr '\\0' '\\n' </proc/$$/environ | cut -d= -f1 | sort";
    let declared = "parameters: {text: {type: string, default: a}}\nparameter_delivery: ";
    let deliveries = ["stdin", "env", "file"].map(|delivery| (delivery, format!("{declared}{delivery}\n")));
    let actions: Vec<_> =
        deliveries.iter().map(|(name, manifest)| (*name, manifest.as_str(), script)).collect();
    machine.push(&actions).await;
    let mut settings = machine.settings();
    // the second is the action's own, whatever the worker's is
    settings.execution.pass_environment = vec!["CARGO_MANIFEST_DIR".to_owned(), "HOME".to_owned()];
    let worker = machine.start(settings).await;
    for (name, own) in
        [("stdin", None), ("env", Some("ATTUNE_ACTION_TEXT")), ("file", Some("ATTUNE_PARAMETERS_FILE"))]
    {
        let id = machine.submit(name, json!({})).await;
        machine.ended(id).await;
        let mut expected = VARIABLES.to_vec();
        expected.push("CARGO_MANIFEST_DIR");
        expected.extend(own);
        expected.sort_unstable();
        assert_eq!(machine.log(id, 1).await.lines().collect::<Vec<_>>(), expected, "{name}");
    }
    worker.drain().await;
}

#[tokio::test]
async fn a_runtime_adds_what_it_needs_and_nothing_else() {
    let machine = Machine::new().await;
    let python = r"import json
print(json.dumps([one.split('=')[0] for one in open('/proc/self/environ').read().split('\0') if one]))
";
    let ruby = r#"require 'json'
puts JSON.dump(File.read('/proc/self/environ').split("\0").map { |one| one.split('=')[0] })
"#;
    let perl = r#"open(F, '<', '/proc/self/environ'); local $/;
print '[', join(',', map { '"' . (split /=/)[0] . '"' } split /\0/, <F>), ']';
"#;
    let node = r"const all = require('fs').readFileSync('/proc/self/environ', 'utf8').split('\0').filter(one => one);
console.log(JSON.stringify(all.map(one => one.split('=')[0])))
";
    let go = r#"package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

func main() {
	var names []string
	for _, one := range os.Environ() {
		names = append(names, strings.SplitN(one, "=", 2)[0])
	}
	text, _ := json.Marshal(names)
	fmt.Println(string(text))
}
"#;
    let mut pack = Pack::default();
    for (runtime, ending, script) in [
        ("python", "py", python),
        ("ruby", "rb", ruby),
        ("perl", "pl", perl),
        ("node", "js", node),
        ("go", "go", go),
    ] {
        pack = pack.action(runtime, ending, &format!("runner_type: {runtime}\n"), script);
    }
    machine.push_folder(pack.path()).await;
    let mut found = runtimes("ruby,perl,node,go").await;
    // not the first on the path, where it may be a script of pyenv that adds variables of its own
    found.runtimes.extend(configured("python", Path::new("/usr/bin/python3")).await.runtimes);
    let worker = machine.start_with(machine.settings(), found);
    for (runtime, added) in [
        ("python", &["PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"][..]),
        ("ruby", &[]),
        ("perl", &[]),
        ("node", &[]),
        ("go", &["GOCACHE", "GOTOOLCHAIN"]),
    ] {
        let result = machine.result(runtime).await;
        let mut told: Vec<&str> =
            result.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        // only once the worker has compiled its library
        told.retain(|name| *name != "PYTHONPYCACHEPREFIX");
        told.sort_unstable();
        let mut expected: Vec<&str> = VARIABLES.iter().chain(added).copied().collect();
        expected.sort_unstable();
        assert_eq!(told, expected, "{runtime}");
    }
    worker.drain().await;
}

#[tokio::test]
async fn an_action_is_asked_to_end_by_its_own_signal() {
    let machine = Machine::new().await;
    let script = "trap 'echo asked by USR1; exit 0' USR1; echo started; while :; do sleep 0.02; done";
    machine.push(&[("own", "stop_signal: SIGUSR1\n", script)]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("own", json!({})).await;
    machine.logged(id, 1, "started").await;
    machine.cancel(id).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Cancelled);
    // what the shell says of its own child's end, on the other output, may come before or after
    let log = machine.log(id, 1).await;
    assert!(log.contains("asked by USR1\n"), "{log}");
    worker.drain().await;
}

#[tokio::test]
async fn parameters_arrive_by_every_way_in_every_format() {
    let machine = Machine::new().await;
    let declared = "parameters: {text: {type: string}, list: {type: array}}\n";
    let with = |how: &str, format: &str| {
        format!("parameter_delivery: {how}\nparameter_format: {format}\n{declared}")
    };
    machine
        .push(&[
            ("json", &with("stdin", "json"), "cat"),
            ("dotenv", &with("stdin", "dotenv"), "cat"),
            (
                "yaml",
                &with("file", "yaml"),
                "cat \"$ATTUNE_PARAMETERS_FILE\"; ls -l \"$ATTUNE_PARAMETERS_FILE\" | cut -c1-10",
            ),
            ("env", &with("env", "json"), "echo \"$ATTUNE_ACTION_TEXT\"; echo \"$ATTUNE_ACTION_LIST\""),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    let odd = json!({"text": "it's \"two\"\nlines 🦀", "list": [1, null]});
    let mut logs = Vec::new();
    for name in ["json", "dotenv", "yaml", "env"] {
        let id = machine.submit(name, odd.clone()).await;
        machine.ended(id).await;
        logs.push(format!("# {name}\n{}", machine.log(id, 1).await));
    }
    insta::assert_snapshot!(logs.concat());
    worker.drain().await;
}

#[tokio::test]
async fn every_way_to_fail_has_its_status_and_its_words() {
    let machine = Machine::new().await;
    machine
        .push(&[
            ("status", "", "exit 7"),
            ("signal", "", "kill -KILL $$"),
            ("slow", "timeout: 1\n", "trap 'exit 9' TERM; while :; do sleep 0.02; done"),
            ("no-result", "output_format: json\n", "echo done"),
            ("failed-result", "output_format: json\n", "echo '{\"why\": \"full\"}'; exit 3"),
            ("native", "runner_type: native\n", "#!/bin/sh\nexit 4\n"),
            ("bad-native", "runner_type: native\n", "not a program"),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    let mut told = Vec::new();
    for name in ["status", "signal", "slow", "no-result", "failed-result", "native", "bad-native"] {
        let ended = machine.ended(machine.submit(name, json!({})).await).await;
        let Outcome { exit_code, signal, error, result, .. } = ended.outcome.unwrap();
        let error = error
            .unwrap()
            .split_whitespace()
            .map(|word| if word.contains("/cache/") { "PATH:" } else { word })
            .collect::<Vec<_>>()
            .join(" ");
        told.push(format!("{name}: {} {exit_code:?} {signal:?} {result:?}\n  {error}", ended.status));
    }
    insta::assert_snapshot!(told.join("\n"));
    worker.drain().await;
}

#[tokio::test]
async fn the_last_of_its_output_is_the_result_in_every_format() {
    let schema = "output_schema: {type: object, required: [free], properties: {free: {type: integer}}}\n";
    let actions = [
        ("text", "output_format: text\n".to_owned(), "echo looking; echo free 7", json!(null)),
        (
            "json",
            format!("output_format: json\n{schema}"),
            "echo looking; echo '{\"free\": 6}'; echo '{\"free\": 7}'",
            json!({"free": 7}),
        ),
        ("yaml", format!("output_format: yaml\n{schema}"), "echo 'free: 7'", json!({"free": 7})),
        (
            "jsonl",
            "output_format: jsonl\n".to_owned(),
            "echo '{\"free\": 6}'; echo '{\"free\": 7}'",
            json!([{"free": 6}, {"free": 7}]),
        ),
    ];
    let machine = Machine::new().await;
    machine
        .push(&actions.each_ref().map(|(name, manifest, script, _)| (*name, manifest.as_str(), *script)))
        .await;
    let worker = machine.start(machine.settings()).await;
    for (name, _, _, expected) in actions {
        let ended = machine.ended(machine.submit(name, json!({})).await).await;
        let outcome = ended.outcome.unwrap();
        assert_eq!(
            (ended.status, outcome.result.unwrap_or_default()),
            (ExecutionStatus::Succeeded, expected),
            "{name}: {:?}",
            outcome.error
        );
    }
    worker.drain().await;
}

#[tokio::test]
async fn output_is_bounded_and_says_what_is_missing() {
    let machine = Machine::new().await;
    machine
        .push(&[(
            "loud",
            "output_format: json\n",
            "head -c 20000000 /dev/zero; echo; echo '{\"end\": true}'",
        )])
        .await;
    let mut settings = machine.settings();
    settings.execution.max_log_bytes = 100_000;
    let worker = machine.start(settings).await;
    let id = machine.submit("loud", json!({})).await;
    let ended = machine.ended(id).await;
    let outcome = ended.outcome.unwrap();
    assert_eq!(outcome.result, Some(json!({"end": true})), "the result is read from the end all the same");
    assert_eq!(outcome.log_bytes_dropped, 20_000_000 + 15 - 100_000);
    let log = machine.log(id, 1).await;
    let marker = "\n[attune: 19900015 bytes of output were dropped: the log is limited to 100000 bytes]\n";
    assert_eq!(log.len(), 100_000 + marker.len());
    assert!(log.ends_with(marker));
    worker.drain().await;
}
