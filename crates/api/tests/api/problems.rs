//! Every way to be refused, as a table of problem documents.

use reqwest::{Method, Response};
use serde_json::{Map, Value, json};

use crate::server::{Server, TOKEN, settings, shown};

const ID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

async fn get(server: &Server, path: &str) -> Response {
    server.request(Method::GET, path).send().await.unwrap()
}

async fn submit(server: &Server, body: Value) -> Response {
    server.post("/executions", &body).await
}

async fn raw(server: &Server, media_type: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = server.request(Method::POST, "/executions").header("content-type", media_type);
    request.body(body).send().await.unwrap()
}

async fn keyed(server: &Server, key: &str, body: Value) -> Response {
    let request = server.request(Method::POST, "/executions").header("idempotency-key", key);
    request.json(&body).send().await.unwrap()
}

#[tokio::test]
async fn every_refusal_says_what_is_wrong() {
    let server = Server::start().await;
    let greet = |parameters: Value| json!({"action": "demo.greet", "parameters": parameters});
    let id = server.submit().await;
    let cases = [
        ("no_token", server.client.get(format!("{}/api/v1/workers", server.base)).send().await.unwrap()),
        (
            "wrong_token",
            server.client.get(format!("{}/nothing", server.base)).bearer_auth("no").send().await.unwrap(),
        ),
        ("unknown_path", get(&server, "/nothing").await),
        (
            "path_outside_of_the_api",
            server.client.get(format!("{}/nothing", server.base)).bearer_auth(TOKEN).send().await.unwrap(),
        ),
        ("wrong_method", server.request(Method::DELETE, "/executions").send().await.unwrap()),
        (
            "wrong_method_on_health",
            server.client.post(format!("{}/healthz", server.base)).send().await.unwrap(),
        ),
        ("unknown_action", submit(&server, json!({"action": "demo.gret"})).await),
        ("action_without_pack", submit(&server, json!({"action": "greet"})).await),
        ("action_like_no_other", submit(&server, json!({"action": "zzz.zzz"})).await),
        ("disabled_action", submit(&server, json!({"action": "demo.off"})).await),
        ("group", submit(&server, json!({"action": "demo.both"})).await),
        (
            "bad_parameters",
            submit(&server, greet(json!({"times": "many", "nam": 1, "password": "hunter2"}))).await,
        ),
        ("too_many_parameters", {
            let many: Map<String, Value> = (0..200).map(|n| (format!("p{n}"), n.into())).collect();
            submit(&server, greet(many.into())).await
        }),
        ("parameters_are_a_list", submit(&server, greet(json!([1]))).await),
        ("unknown_field", submit(&server, json!({"action": "demo.greet", "params": {}})).await),
        ("no_action", submit(&server, json!({})).await),
        ("not_json", raw(&server, "application/json", "{").await),
        ("wrong_media_type", raw(&server, "text/plain", "{}").await),
        ("body_too_large", raw(&server, "application/json", vec![b' '; 17 * 1024 * 1024]).await),
        ("empty_key", keyed(&server, "", greet(json!({"name": "Ada"}))).await),
        ("long_key", keyed(&server, &"k".repeat(256), greet(json!({"name": "Ada"}))).await),
        (
            "key_with_control_character",
            submit(&server, json!({"action": "demo.greet", "idempotency_key": "a\nb"})).await,
        ),
        ("two_keys", keyed(&server, "a", json!({"action": "demo.greet", "idempotency_key": "b"})).await),
        ("bad_id", get(&server, "/executions/seven").await),
        ("unknown_execution", get(&server, &format!("/executions/{ID}")).await),
        ("cancel_unknown_execution", server.post(&format!("/executions/{ID}/cancel"), &json!({})).await),
        ("logs_of_unknown_execution", get(&server, &format!("/executions/{ID}/logs")).await),
        ("follow_unknown_execution", get(&server, &format!("/executions/{ID}/logs/follow")).await),
        ("logs_of_unknown_attempt", get(&server, &format!("/executions/{id}/logs?attempt=7")).await),
        ("logs_of_attempt_0", get(&server, &format!("/executions/{id}/logs?attempt=0")).await),
        ("logs_limit", get(&server, &format!("/executions/{id}/logs?limit=0")).await),
        ("logs_from", get(&server, &format!("/executions/{id}/logs?from=-1")).await),
        ("logs_from_too_far", get(&server, &format!("/executions/{id}/logs?from={}", u64::MAX)).await),
        ("list_limit_0", get(&server, "/executions?limit=0").await),
        ("list_limit_501", get(&server, "/executions?limit=501").await),
        ("list_limit_text", get(&server, "/executions?limit=many").await),
        ("list_status", get(&server, "/executions?status=queued,runing").await),
        ("list_status_like_no_other", get(&server, "/executions?status=zzz").await),
        ("list_action", get(&server, "/executions?action=greet").await),
        ("list_before", get(&server, "/executions?before=yesterday").await),
        ("list_unknown_query", get(&server, "/executions?state=queued").await),
        ("unknown_pack", get(&server, "/packs/dem").await),
        ("pack_like_no_other", get(&server, "/packs/zzz").await),
        ("show_unknown_action", get(&server, "/actions/demo.gret").await),
        ("pack_is_not_an_archive", {
            let request = server.request(Method::POST, "/packs").header("content-type", "application/zstd");
            request.body("not an archive").send().await.unwrap()
        }),
        ("pack_media_type", server.post("/packs", &json!({})).await),
        ("pack_with_bad_manifest", server.push(vec![("pack.yaml", "ref: [".to_owned())]).await),
        ("last_event_id", {
            let request = server.request(Method::GET, &format!("/executions/{id}/logs/follow"));
            request.header("last-event-id", "seven").send().await.unwrap()
        }),
    ];
    for (name, answer) in cases {
        let told = shown(answer).await;
        assert!(!told.contains("hunter2"), "{name}: {told}");
        settings().bind(|| insta::assert_snapshot!(name, told));
    }
}

#[tokio::test]
async fn an_empty_server_says_that_it_has_no_packs() {
    let server = Server::empty().await;
    let told = shown(submit(&server, json!({"action": "demo.greet"})).await).await;
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::empty().await;
    let answer = server.request(Method::DELETE, "/executions").send().await.unwrap();
    let mut allowed: Vec<&str> = answer.headers()["allow"].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}
