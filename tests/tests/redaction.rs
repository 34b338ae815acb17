//! Secrets of real actions: printed by real programs in every form they have, and stored nowhere.

use attune_common::model::{ExecutionStatus, LogStream};
use attune_tests::service::Machine;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::{Value, json};

/// Something of everything that is encoded somewhere, on two lines. The words at both ends survive most encodings.
const SECRET: &str = "tr0ub4dor/&3 it's \"ö\" \\\nline$two+77=?correct";

const DECLARED: &str = "parameter_delivery: env\nparameters: {token: {type: string, secret: true}}\n";

/// What must not be found: parts of the secret as they are, and in base64 at every distance from a group of three.
fn needles() -> Vec<String> {
    let parts = ["tr0ub4dor", "77=?correct", "77%3D", "correct"];
    let encoded = ["", "x", "xx"].map(|before| STANDARD_NO_PAD.encode(format!("{before}{SECRET}")));
    // from the middle: no character there depends on what is around the secret
    let encoded = encoded.iter().flat_map(|text| [text[8..20].to_owned(), text[40..52].to_owned()]);
    parts.map(str::to_owned).into_iter().chain(encoded).collect()
}

/// Looks through every byte of the store, except for the parameters themselves.
fn assert_stored_nowhere(machine: &Machine, parameters: &Value) {
    let parameters = parameters.to_string();
    let stored = String::from_utf8_lossy(&machine.stored_bytes()).into_owned();
    assert!(stored.contains(&parameters), "the parameters are there: this looks at the right bytes");
    let others = stored.replace(&parameters, "");
    for needle in needles() {
        assert!(!others.contains(&needle), "{needle} is stored");
    }
}

#[tokio::test]
async fn what_real_programs_make_of_a_secret_is_masked() {
    let machine = Machine::new().await;
    let script = r#"
        export S="$ATTUNE_ACTION_TOKEN"
        echo "sh: $S"
        echo "sh, standard error: $S" >&2
        echo "base64: $(printf %s "$S" | base64)"
        echo "base64 with a line end: $(printf '%s\n' "$S" | base64)"
        echo "base64 within more: $(printf 'user:%s:' "$S" | base64 --wrap=0)"
        echo "base64 one further: $(printf 'user::%s:' "$S" | base64 --wrap=0)"
        echo "base64 two further: $(printf 'user:::%s:' "$S" | base64 --wrap=0)"
        echo "base64 within more, on two lines:"; printf 'somebody who has a rather long name:%s:' "$S" | base64 --wrap=64
        echo "base64url: $(printf %s "$S" | basenc --base64url --wrap=0)"
        bash -c 'printf "printf %%q: %q\n" "$S"; printf "@Q: %s\n" "${S@Q}"; declare -p S'
        bash -c 'set -x; : "$S"'
        LC_ALL=C bash -c 'printf "printf %%q, locale C: %q\n" "$S"'
        python3 -c 'if True:
            import json, os, shlex, urllib.parse
            s = os.environ["S"]
            print("json.dumps:", json.dumps(s))
            print("json.dumps, not ASCII:", json.dumps({"s": s}, ensure_ascii=False))
            print("quote:", urllib.parse.quote(s))
            print("quote, nothing safe:", urllib.parse.quote(s, safe=""))
            print("urlencode:", urllib.parse.urlencode({"s": s}))
            print("shlex.quote:", shlex.quote(s))
            print("repr:", repr(s))'
        node -e 'const s = process.env.S; const url = new URL("http://host/"); url.password = s;
            console.log("JSON.stringify:", JSON.stringify([s]));
            console.log("encodeURIComponent:", encodeURIComponent(s), "encodeURI:", encodeURI(s));
            console.log("URLSearchParams:", String(new URLSearchParams({s})), "URL:", String(url))'
        ruby -rjson -rshellwords -rerb -e 's = ENV["S"].dup.force_encoding("UTF-8")
            puts "to_json: #{s.to_json} generate: #{JSON.generate([s], ascii_only: true, script_safe: true)}"
            puts "shellescape: #{s.shellescape}", "url_encode: #{ERB::Util.url_encode(s)}"'
        perl -MMIME::Base64 -e 'print "perl: ", encode_base64($ENV{S}), "\n"'
        printf 'letter by letter: '
        rest="$S"
        while [ -n "$rest" ]; do
            after="${rest#?}"
            printf %s "${rest%"$after"}"
            printf . >&2
            rest="$after"
        done
        echo
    "#;
    machine.push(&[("prints", DECLARED, script)]).await;
    let worker = machine.start(machine.settings()).await;
    let parameters = json!({"token": SECRET});
    let id = machine.submit("prints", parameters.clone()).await;
    let ended = machine.ended(id).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}\n{}", machine.log(id, 1).await);
    let chunks = machine.store.read_log(id, 1, 0, u64::MAX).await.unwrap();
    let stdout: Vec<u8> = chunks
        .into_iter()
        .filter(|chunk| chunk.stream == LogStream::Stdout)
        .flat_map(|chunk| chunk.data)
        .collect();
    insta::assert_snapshot!(String::from_utf8(stdout).unwrap());
    worker.drain().await;
    assert_stored_nowhere(&machine, &parameters);
}

#[tokio::test]
async fn results_and_errors_hold_no_secrets() {
    let machine = Machine::new().await;
    let json = |rest: &str| format!("output_format: json\n{rest}{DECLARED}");
    let print = "python3 -c 'import base64, json, os
s = os.environ[\"ATTUNE_ACTION_TOKEN\"]
print(json.dumps({s: [s, base64.b64encode(s.encode()).decode()], \"text\": \"it is \" + s + \"!\"}))'";
    let schema = "output_schema: {additionalProperties: {type: string}}\n";
    machine
        .push(&[
            ("result", &json(""), print),
            ("unfit", &json(schema), print),
            ("broken", &json(""), "printf '{\"password\": \"%s' \"$ATTUNE_ACTION_TOKEN\"; echo '\"'"),
            (
                "cut",
                &json(""),
                "printf '%065d %s\\n' 0 \"$ATTUNE_ACTION_TOKEN\" | head -n 1",
            ),
            (
                "yaml",
                &format!("output_format: yaml\n{DECLARED}"),
                "python3 -c 'import json, os; key = json.dumps(os.environ[\"ATTUNE_ACTION_TOKEN\"]); print(key + \": 1\\n\" + key + \": 2\")'",
            ),
            ("lines", &format!("output_format: jsonl\n{DECLARED}"), "echo '{}'; echo \"$ATTUNE_ACTION_TOKEN\""),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    let parameters = json!({"token": SECRET});
    let mut told = Vec::new();
    for name in ["result", "unfit", "broken", "cut", "yaml", "lines"] {
        let ended = machine.ended(machine.submit(name, parameters.clone()).await).await;
        let outcome = ended.outcome.unwrap();
        let result = outcome.result.map(|result| result.to_string()).unwrap_or_default();
        told.push(format!("{name}: {} {result}{}", ended.status, outcome.error.unwrap_or_default()));
    }
    insta::assert_snapshot!(told.join("\n"));
    worker.drain().await;
    assert_stored_nowhere(&machine, &parameters);
}

#[tokio::test]
async fn output_that_is_no_secret_is_not_held_back() {
    let machine = Machine::new().await;
    machine
        .push(&[(
            "asks",
            "parameter_delivery: env\nparameters: {token: {secret: true}, go: {type: string}}\n",
            "printf 'Password: '; while [ ! -e \"$ATTUNE_ACTION_GO\" ]; do sleep 0.02; done; printf 'tr0ub4'",
        )])
        .await;
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("asks", json!({"token": SECRET, "go": go})).await;
    // without its end of line, and although the process waits
    machine.logged(id, 1, "Password: ").await;
    std::fs::write(&go, "").unwrap();
    machine.ended(id).await;
    assert_eq!(
        machine.log(id, 1).await,
        "Password: tr0ub4",
        "what only began like a secret is shown at the end"
    );
    worker.drain().await;
}

#[tokio::test]
async fn what_cannot_be_masked_is_said() {
    let machine = Machine::new().await;
    let declared = "parameter_delivery: env\nparameters: {pin: {secret: true}, token: {secret: true}}\n";
    machine.push(&[("prints", declared, "echo \"$ATTUNE_ACTION_PIN $ATTUNE_ACTION_TOKEN and more\"")]).await;
    let mut settings = machine.settings();
    settings.execution.max_log_bytes = 15;
    let worker = machine.start(settings).await;
    let short = machine.submit("prints", json!({"pin": 1234, "token": SECRET})).await;
    let ended = machine.ended(short).await;
    // what counts is what is stored: "1234 ******** and more" and its line end, without the remarks
    assert_eq!(ended.outcome.unwrap().log_bytes_dropped, 23 - 15);
    let large =
        machine.submit("prints", json!({"pin": "long enough", "token": "s3cret".repeat(20_000)})).await;
    let refused = machine.ended(large).await.outcome.unwrap().error.unwrap();
    insta::assert_snapshot!(format!("{}---\n{refused}", machine.log(short, 1).await));
    worker.drain().await;
}
