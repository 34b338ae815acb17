//! Workers and requirements.

use attune_api::views::{RequirementList, RuntimeList, WorkerList};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, settings, shown};

#[tokio::test]
async fn workers_are_shown_with_what_they_can_do() {
    let server = Server::start().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let id = server.submit().await;
    server.claim(worker, id).await;
    let shown = server.get("/workers").await;
    settings().bind(|| insta::assert_json_snapshot!(shown));
    let list: WorkerList = serde_json::from_value(shown).unwrap();
    assert_eq!(list.workers[0].id, worker);
}

#[tokio::test]
async fn requirements_tell_what_waits_and_who_could_take_it() {
    let server = Server::start().await;
    let box_1 = server.register("box", "shell", "5.2.15").await;
    let away = server.register("away", "shell", "5.2.15").await;
    server.store.drain_worker(away).await.unwrap();
    let first = server.submit().await;
    server.submit().await;
    server.claim(box_1, first).await;
    server.post("/executions", &json!({"action": "demo.needy"})).await;
    let shown = server.get("/requirements").await;
    settings().bind(|| insta::assert_json_snapshot!(shown));
    serde_json::from_value::<RequirementList>(shown).unwrap();
}

#[tokio::test]
async fn a_cordon_is_around_a_name_and_is_shown_with_its_reason() {
    let server = Server::start().await;
    let (first, second) =
        (server.register("box", "shell", "5.2.15").await, server.register("box", "shell", "5.2.15").await);
    server.register("other", "shell", "5.2.15").await;
    let id = server.submit().await;
    let answer = server.post("/workers/box/cordon", &json!({"reason": "new disk"})).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let list: Value = answer.json().await.unwrap();
    settings().bind(|| insta::assert_json_snapshot!("cordoned", list));
    let list: WorkerList = serde_json::from_value(list).unwrap();
    assert_eq!(list.workers.iter().map(|worker| worker.id).collect::<Vec<_>>(), [first, second]);
    assert!(server.store.claim(first, id, crate::server::LONG).await.unwrap().is_none());
    let requirements = server.get("/requirements").await;
    assert_eq!(requirements["requirements"][0]["workers"], json!(["other"]));

    let answer = server.request(Method::POST, "/workers/box/uncordon").send().await.unwrap();
    let list: WorkerList = answer.json().await.unwrap();
    assert!(list.workers.iter().all(|worker| worker.cordon.is_none()));
    server.claim(second, id).await;

    let long = "x".repeat(501);
    let refused = [
        server.post("/workers/nobody/cordon", &json!({})).await,
        server.request(Method::POST, "/workers/nobody/uncordon").send().await.unwrap(),
        server.request(Method::POST, "/workers/bo%00x/uncordon").send().await.unwrap(),
        server.post("/workers/box/cordon", &json!({"reason": long})).await,
        server.post("/workers/box/cordon", &json!({"why": "new disk"})).await,
    ];
    let mut told = Vec::new();
    for answer in refused {
        told.push(shown(answer).await);
    }
    settings().bind(|| insta::assert_snapshot!("cordons_that_are_refused", told.join("\n\n")));
}

#[tokio::test]
async fn runtimes_tell_who_offers_them_in_which_versions() {
    let server = Server::start().await;
    for (name, runtime, version) in
        [("a", "python", "3.9.2"), ("b", "python", "3.12.1"), ("c", "python", "3.9.2"), ("d", "lua", "5.4.6")]
    {
        server.register(name, runtime, version).await;
    }
    let gone = server.register("gone", "ruby", "3.1.0").await;
    server.store.deregister_worker(gone).await.unwrap();
    let shown = server.get("/runtimes").await;
    settings().bind(|| insta::assert_json_snapshot!(shown));
    serde_json::from_value::<RuntimeList>(shown).unwrap();
}
