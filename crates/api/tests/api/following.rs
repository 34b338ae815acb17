//! Following an execution over server-sent events.

use attune_api::views::{ExecutionView, FollowEvent};
use attune_common::model::{ExecutionId, ExecutionStatus, Outcome};
use futures_util::{Stream, StreamExt};
use reqwest::Method;
use serde_json::json;
use sse_stream::{Sse, SseStream};

use crate::server::Server;

struct Events(std::pin::Pin<Box<dyn Stream<Item = Sse> + Send>>);

impl Events {
    async fn open(server: &Server, id: ExecutionId, query: &str, last_id: Option<&str>) -> Self {
        let mut request = server.request(Method::GET, &format!("/executions/{id}/logs/follow{query}"));
        if let Some(last_id) = last_id {
            request = request.header("last-event-id", last_id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let stream = SseStream::from_bytes_stream(answer.bytes_stream());
        Self(Box::pin(stream.map(Result::unwrap)))
    }

    /// The next event with its id.
    async fn next(&mut self) -> Option<(FollowEvent, Option<String>)> {
        loop {
            let event = self.0.next().await?;
            // comments keep the connection alive
            let (Some(name), Some(data)) = (event.event, event.data) else { continue };
            return Some((FollowEvent::parse(&name, &data).unwrap().unwrap(), event.id));
        }
    }

    async fn rest(mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some((event, _)) = self.next().await {
            told.push(brief(&event));
        }
        told
    }
}

fn brief(event: &FollowEvent) -> String {
    match event {
        FollowEvent::Attempt(event) => format!("attempt {}", event.attempt),
        FollowEvent::Status(event) => format!("status {} of attempt {}", event.status, event.attempt),
        FollowEvent::Log(chunk) => format!("log {} {:?}", chunk.offset, chunk.text.as_deref().unwrap()),
        FollowEvent::End(execution) => format!("end {}", execution.summary.status),
        FollowEvent::Problem(problem) => format!("problem {}", problem.r#type),
    }
}

#[tokio::test]
async fn a_whole_life_is_told_in_order() {
    let server = Server::start().await;
    let id = server.submit().await;
    let mut events = Events::open(&server, id, "", None).await;
    let (queued, _) = events.next().await.unwrap();
    let FollowEvent::Status(status) = &queued else { panic!("{queued:?}") };
    assert_eq!(status.status, ExecutionStatus::Queued);
    assert_eq!(status.waiting_for.as_deref(), Some("no worker satisfies 'shell'"));

    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    // the arrival of a worker may have been seen before its claim
    let (mut event, mut event_id) = events.next().await.unwrap();
    if let FollowEvent::Status(status) = &event {
        assert_eq!((status.status, &status.waiting_for), (ExecutionStatus::Queued, &None));
        (event, event_id) = events.next().await.unwrap();
    }
    assert_eq!((brief(&event).as_str(), event_id.as_deref()), ("attempt 1", Some("1:0")));
    assert_eq!(brief(&events.next().await.unwrap().0), "status running of attempt 1");

    server.log(fence, 0, b"one\n").await;
    let (event, event_id) = events.next().await.unwrap();
    assert_eq!((brief(&event).as_str(), event_id.as_deref()), (r#"log 0 "one\n""#, Some("1:4")));
    server.log(fence, 4, b"two\n").await;
    server.succeed(fence).await;
    assert_eq!(events.next().await.unwrap().1.as_deref(), Some("1:8"));
    assert_eq!(brief(&events.next().await.unwrap().0), "status succeeded of attempt 1");
    let (end, _) = events.next().await.unwrap();
    let shown: ExecutionView =
        serde_json::from_value(server.get(&format!("/executions/{id}")).await).unwrap();
    assert_eq!(end, FollowEvent::End(Box::new(shown)));
    assert!(events.next().await.is_none(), "the stream closes");
}

#[tokio::test]
async fn what_has_ended_is_told_from_anywhere() {
    let server = Server::start().await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    server.log(fence, 0, b"one\n").await;
    server.store.release(fence, Outcome::default(), vec![]).await.unwrap();
    let (fence, execution) = server.claim(worker, id).await;
    assert_eq!(execution.attempt, 2);
    server.log(fence, 0, b"three\n").await;
    server.log(fence, 6, b"four\n").await;
    server.succeed(fence).await;

    for (query, last_id, expected) in [
        (
            "",
            None,
            vec![
                "attempt 2",
                r#"log 0 "three\n""#,
                r#"log 6 "four\n""#,
                "status succeeded of attempt 2",
                "end succeeded",
            ],
        ),
        (
            "?attempt=1",
            None,
            vec![
                "attempt 1",
                r#"log 0 "one\n""#,
                "attempt 2",
                r#"log 0 "three\n""#,
                r#"log 6 "four\n""#,
                "status succeeded of attempt 2",
                "end succeeded",
            ],
        ),
        (
            "?from=3",
            None,
            vec![
                "attempt 2",
                r#"log 3 "ee\n""#,
                r#"log 6 "four\n""#,
                "status succeeded of attempt 2",
                "end succeeded",
            ],
        ),
        // resumed behind the first chunk: the query no longer counts
        ("?from=0", Some("2:6"), vec![r#"log 6 "four\n""#, "status succeeded of attempt 2", "end succeeded"]),
        ("", Some("2:11"), vec!["status succeeded of attempt 2", "end succeeded"]),
        (
            "",
            Some("1:4"),
            vec![
                "attempt 2",
                r#"log 0 "three\n""#,
                r#"log 6 "four\n""#,
                "status succeeded of attempt 2",
                "end succeeded",
            ],
        ),
    ] {
        let told = Events::open(&server, id, query, last_id).await.rest().await;
        assert_eq!(told, expected, "{query} {last_id:?}");
    }
}

#[tokio::test]
async fn a_lost_attempt_is_followed_by_the_next() {
    let server = Server::start().await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    server.log(fence, 0, b"one\n").await;
    let mut events = Events::open(&server, id, "", None).await;
    for expected in ["attempt 1", "status running of attempt 1", r#"log 0 "one\n""#] {
        assert_eq!(brief(&events.next().await.unwrap().0), expected);
    }
    server.store.release(fence, Outcome::default(), vec![]).await.unwrap();
    assert_eq!(brief(&events.next().await.unwrap().0), "status queued of attempt 1");
    let (fence, _) = server.claim(worker, id).await;
    assert_eq!(brief(&events.next().await.unwrap().0), "attempt 2");
    assert_eq!(brief(&events.next().await.unwrap().0), "status running of attempt 2");
    server.succeed(fence).await;
    assert_eq!(events.rest().await, ["status succeeded of attempt 2", "end succeeded"]);
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams_in_a_way_that_can_be_resumed() {
    let server = Server::start().await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    server.log(fence, 0, b"one\n").await;
    let mut events = Events::open(&server, id, "", None).await;
    let mut last_id = None;
    while last_id.as_deref() != Some("1:4") {
        last_id = events.next().await.unwrap().1.or(last_id);
    }
    server.shutdown.cancel();
    assert!(events.rest().await.iter().all(|told| !told.starts_with("end")), "closed without an end");
}

#[tokio::test]
async fn a_cancelled_queued_execution_ends_its_followers() {
    let server = Server::start().await;
    let id = server.submit().await;
    let mut events = Events::open(&server, id, "", None).await;
    assert_eq!(brief(&events.next().await.unwrap().0), "status queued of attempt 0");
    server.post(&format!("/executions/{id}/cancel"), &json!({})).await;
    assert_eq!(events.rest().await, ["status cancelled of attempt 0", "end cancelled"]);
}
