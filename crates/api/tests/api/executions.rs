//! Submitting, listing, showing and cancelling.

use attune_api::views::{ExecutionList, ExecutionView};
use attune_common::{
    doorbell::{Doorbell, Wake},
    model::{ExecutionStatus, Parameters},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, settings};

#[tokio::test]
async fn a_submission_is_queued_and_rung_for() {
    let server = Server::start().await;
    let mut listener = server.doorbell.listen().await.unwrap();
    let answer =
        server.post("/executions", &json!({"action": "demo.greet", "parameters": {"name": "Ada"}})).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let view: Value = answer.json().await.unwrap();
    assert_eq!(location, format!("/api/v1/executions/{}", view["id"].as_str().unwrap()));
    assert_eq!(listener.wake().await.unwrap(), Wake::LookForWork);
    settings().bind(|| insta::assert_json_snapshot!(view));
}

#[tokio::test]
async fn a_finished_execution_shows_how_it_ended() {
    let server = Server::start().await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    server.succeed(fence).await;
    let view = server.get(&format!("/executions/{id}")).await;
    settings().bind(|| insta::assert_json_snapshot!(view));
    serde_json::from_value::<ExecutionView>(view).unwrap();
}

#[tokio::test]
async fn secret_values_are_stored_but_never_shown() {
    let server = Server::start().await;
    let secret = "battery-staple-42";
    let body = json!({"action": "demo.greet", "parameters": {"name": "Ada", "password": secret}, "idempotency_key": "k"});
    let first = server.post("/executions", &body).await.text().await.unwrap();
    let again = server.post("/executions", &body).await.text().await.unwrap();
    let view: ExecutionView = serde_json::from_str(&first).unwrap();
    let id = view.summary.id;
    assert_eq!(view.parameters["password"], Parameters::MASK);
    let stored = server.store.execution(id).await.unwrap().unwrap();
    assert_eq!(stored.parameters.0["password"], secret);
    let mut seen = vec![first, again];
    for path in [format!("/executions/{id}"), "/executions".to_owned(), "/actions/demo.greet".to_owned()] {
        seen.push(server.get(&path).await.to_string());
    }
    seen.push(server.post(&format!("/executions/{id}/cancel"), &json!({})).await.text().await.unwrap());
    for text in seen {
        assert!(!text.contains(secret) && !text.contains("correct-horse"), "{text}");
    }
}

#[tokio::test]
async fn a_key_makes_repeated_submissions_one() {
    let server = Server::start().await;
    let body = json!({"action": "demo.greet", "parameters": {"name": "Ada"}});
    let mut ids = Vec::new();
    for expected in [StatusCode::CREATED, StatusCode::OK] {
        let request = server.request(Method::POST, "/executions").header("idempotency-key", "one of a kind");
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), expected);
        ids.push(answer.json::<ExecutionView>().await.unwrap().summary.id);
    }
    let mut body = body;
    body["idempotency_key"] = "one of a kind".into();
    let answer = server.post("/executions", &body).await;
    assert_eq!(answer.status(), StatusCode::OK, "header and body are the same key");
    ids.push(answer.json::<ExecutionView>().await.unwrap().summary.id);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(server.get("/executions").await["executions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(server.submit().await);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut path = "/executions?limit=2".to_owned();
    let mut pages = 0;
    loop {
        pages += 1;
        let page: ExecutionList = serde_json::from_value(server.get(&path).await).unwrap();
        seen.extend(page.executions.iter().map(|execution| execution.id));
        let Some(next) = page.next else { break };
        path = format!("/executions?limit=2&before={next}");
    }
    assert_eq!((seen, pages), (ids.clone(), 3));

    server.post(&format!("/executions/{}/cancel", ids[0]), &json!({})).await;
    for (query, expected) in [
        ("status=cancelled", 1),
        ("status=queued", 4),
        ("status=queued,cancelled", 5),
        ("status=running", 0),
        ("action=demo.greet", 5),
        ("action=demo.needy", 0),
        ("action=demo.greet&status=queued&limit=3", 3),
        ("limit=500", 5),
        ("limit=5", 5),
    ] {
        let page: ExecutionList =
            serde_json::from_value(server.get(&format!("/executions?{query}")).await).unwrap();
        assert_eq!(page.executions.len(), expected, "{query}");
        assert_eq!(page.next.is_some(), query.contains("limit=3"), "{query}");
    }
}

#[tokio::test]
async fn a_queued_execution_is_cancelled_at_once() {
    let server = Server::start().await;
    let id = server.submit().await;
    for _ in 0..2 {
        let answer = server.request(Method::POST, &format!("/executions/{id}/cancel")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let view: ExecutionView = answer.json().await.unwrap();
        assert_eq!(view.summary.status, ExecutionStatus::Cancelled);
        assert!(view.summary.finished_at.is_some() && view.summary.started_at.is_none());
    }
}

#[tokio::test]
async fn a_running_execution_is_asked_to_end_and_its_worker_is_rung() {
    let server = Server::start().await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    let mut listener = server.doorbell.listen().await.unwrap();
    let answer = server.post(&format!("/executions/{id}/cancel"), &json!({})).await;
    let view: ExecutionView = answer.json().await.unwrap();
    assert_eq!((view.summary.status, view.summary.cancel_requested), (ExecutionStatus::Running, true));
    assert!(view.summary.duration_seconds.is_some());
    assert_eq!(listener.wake().await.unwrap(), Wake::LookForCancellations);

    server.succeed(fence).await;
    let answer = server.post(&format!("/executions/{id}/cancel"), &json!({})).await;
    let view: ExecutionView = answer.json().await.unwrap();
    assert_eq!(view.summary.status, ExecutionStatus::Succeeded, "what has ended stays as it is");
}

#[tokio::test]
async fn what_nobody_can_run_says_so() {
    let server = Server::start().await;
    let submit = || async {
        let answer = server.post("/executions", &json!({"action": "demo.needy"})).await;
        answer.json::<ExecutionView>().await.unwrap().summary.waiting_for
    };
    server.register("old", "ruby", "2.7.0").await;
    assert_eq!(submit().await.as_deref(), Some("no worker satisfies 'ruby >=3.1'"));
    server.register("new", "ruby", "3.3.0").await;
    assert_eq!(submit().await, None);
}

#[tokio::test]
async fn large_parameters_are_taken() {
    let server = Server::start().await;
    let name = "x".repeat(3 * 1024 * 1024);
    let answer =
        server.post("/executions", &json!({"action": "demo.greet", "parameters": {"name": name}})).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}
