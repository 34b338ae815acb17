//! Who is let in.

use reqwest::StatusCode;

use crate::server::{Server, TOKEN};

#[tokio::test]
async fn only_the_token_opens_the_door() {
    let server = Server::empty().await;
    for (header, expected, challenge) in [
        (None, StatusCode::UNAUTHORIZED, Some(r#"Bearer realm="attune""#)),
        (Some("Basic YTpi".to_owned()), StatusCode::UNAUTHORIZED, Some(r#"Bearer realm="attune""#)),
        (Some("Bearer ".to_owned()), StatusCode::UNAUTHORIZED, Some(r#"Bearer realm="attune""#)),
        (
            Some("Bearer wrong".to_owned()),
            StatusCode::UNAUTHORIZED,
            Some(r#"Bearer realm="attune", error="invalid_token""#),
        ),
        (
            Some(format!("Bearer {TOKEN}x")),
            StatusCode::UNAUTHORIZED,
            Some(r#"Bearer realm="attune", error="invalid_token""#),
        ),
        (Some(format!("Bearer {TOKEN}")), StatusCode::OK, None),
        (Some(format!("bearer {TOKEN}")), StatusCode::OK, None),
    ] {
        let mut request = server.client.get(format!("{}/api/v1/workers", server.base));
        if let Some(header) = &header {
            request = request.header("authorization", header);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), expected, "{header:?}");
        let told = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(told.as_deref(), challenge, "{header:?}");
    }
}

#[tokio::test]
async fn strangers_learn_nothing_about_paths() {
    let server = Server::empty().await;
    for path in ["/", "/api/v1/executions", "/api/v1/nothing", "/nothing"] {
        let answer = server.client.get(format!("{}{path}", server.base)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn health_and_description_are_open() {
    let server = Server::empty().await;
    for path in ["/healthz", "/openapi.json"] {
        let answer = server.client.get(format!("{}{path}", server.base)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let health: attune_api::views::Health =
        server.client.get(format!("{}/healthz", server.base)).send().await.unwrap().json().await.unwrap();
    assert_eq!((health.status.as_str(), health.version.as_str()), ("ok", env!("CARGO_PKG_VERSION")));
}
