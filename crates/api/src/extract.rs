//! Extractors whose rejections are problem documents.

use std::{fmt::Display, str::FromStr};

use axum::{
    Json,
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{BytesRejection, JsonRejection},
    },
    http::{StatusCode, header, request::Parts},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::problem::{Kind, Problem};

/// The one variable segment of the path.
pub(crate) struct Segment<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Segment<T>
where
    S: Send + Sync,
    T: FromStr<Err: Display>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(Kind::MalformedRequest, rejection.body_text()))?;
        Ok(Self(parsed(&text)?))
    }
}

/// The two variable segments of the path; the second one may be several.
pub(crate) struct Segments<A, B>(pub(crate) A, pub(crate) B);

impl<S, A, B> FromRequestParts<S> for Segments<A, B>
where
    S: Send + Sync,
    A: FromStr<Err: Display>,
    B: FromStr<Err: Display>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((one, other)): Path<(String, String)> = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(Kind::MalformedRequest, rejection.body_text()))?;
        Ok(Self(parsed(&one)?, parsed(&other)?))
    }
}

fn parsed<T: FromStr<Err: Display>>(segment: &str) -> Result<T, Problem> {
    segment.parse().map_err(|error: T::Err| Problem::new(Kind::MalformedRequest, error.to_string()))
}

/// The parameters behind the question mark.
pub(crate) struct QueryOf<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::from_request_parts(parts, state).await.map_err(|rejection| {
            let reason = innermost(&rejection);
            Problem::new(Kind::MalformedRequest, format!("query parameters: {reason}"))
        })?;
        Ok(Self(query))
    }
}

/// Reads a whole number of a query.
pub(crate) fn whole_number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
{
    let text = String::deserialize(deserializer)?;
    let shown: String = text.chars().take(40).collect();
    let refusal = || serde::de::Error::custom(format!("a whole number is expected, not '{shown}'"));
    text.parse().map(Some).map_err(|_| refusal())
}

/// A JSON request body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(body) = Json::from_request(request, state).await.map_err(|rejection| match rejection {
            JsonRejection::JsonDataError(error) => {
                Problem::new(Kind::InvalidBody, format!("request body: {}", innermost(&error)))
            }
            JsonRejection::JsonSyntaxError(error) => Problem::new(
                Kind::MalformedRequest,
                format!("the request body is not JSON: {}", innermost(&error)),
            ),
            JsonRejection::MissingJsonContentType(_) => wrong_media_type("application/json"),
            JsonRejection::BytesRejection(rejection) => body_problem(&rejection),
            other => Problem::new(Kind::MalformedRequest, other.body_text()),
        })?;
        Ok(Self(body))
    }
}

/// A request body that is a zstd archive.
pub(crate) struct ArchiveBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for ArchiveBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        const MEDIA_TYPE: &str = "application/zstd";
        let given = request.headers().get(header::CONTENT_TYPE);
        if given.is_none_or(|given| given.as_bytes() != MEDIA_TYPE.as_bytes()) {
            return Err(wrong_media_type(MEDIA_TYPE));
        }
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| body_problem(&rejection))?;
        Ok(Self(bytes))
    }
}

fn wrong_media_type(expected: &str) -> Problem {
    Problem::new(Kind::UnsupportedMediaType, format!("send the body with 'content-type: {expected}'"))
}

fn body_problem(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(Kind::BodyTooLarge, "the request body is larger than this path takes");
    }
    Problem::new(Kind::MalformedRequest, "the request body was cut off")
}

/// The error at the end of the chain: the one that says what is wrong rather than that something is.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
