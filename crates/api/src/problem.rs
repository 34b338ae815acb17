//! Problem documents (RFC 9457): the one form in which the API says what went wrong.

use std::collections::BTreeMap;

use attune_common::{model::parameters::ParameterFault, store::StoreError};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, RefOr, ResponseBuilder},
};

/// Media type of problem documents.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// Kind of problem, for programs.
    #[schema(example = "urn:attune:problem:invalid-parameters")]
    pub r#type: String,
    /// Kind of problem, for people; the same for every problem of a kind.
    pub title: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// What went wrong this time, and what to do.
    pub detail: String,
    /// Every single fault, where there can be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
}

/// One of several faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemError {
    /// Name of the parameter at fault; absent when it is none in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong with it.
    pub detail: String,
}

/// The kinds of problem. The last part of a document's `type` names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MalformedRequest,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    ActionDisabled,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidBody,
    InvalidParameters,
    ActionIsGroup,
    InvalidPack,
    Internal,
    Unavailable,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => {
                (StatusCode::BAD_REQUEST, "malformed-request", "the request cannot be understood")
            }
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "the request carries no valid token")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "what was named does not exist"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the method does not fit the path")
            }
            Self::ActionDisabled => (StatusCode::CONFLICT, "action-disabled", "the action is disabled"),
            Self::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the request body is too large")
            }
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "the request body has the wrong media type",
            ),
            Self::InvalidBody => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-body", "the request body does not fit")
            }
            Self::InvalidParameters => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-parameters", "the action refuses the parameters")
            }
            Self::ActionIsGroup => {
                (StatusCode::UNPROCESSABLE_ENTITY, "action-is-group", "the action is a list of other actions")
            }
            Self::InvalidPack => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-pack", "the archive is not a valid pack")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server cannot do its work now")
            }
        }
    }
}

/// A problem on its way to the client: the error of every handler.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    document: Box<ProblemDocument>,
    challenge: Option<&'static str>,
}

impl Problem {
    /// A problem of a kind, with what went wrong this time.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (status, slug, title) = kind.parts();
        let document = Box::new(ProblemDocument {
            r#type: format!("urn:attune:problem:{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        });
        Self { status, document, challenge: None }
    }

    /// A refusal that tells how to authenticate (RFC 6750 section 3).
    pub(crate) fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..Self::new(Kind::Unauthorized, detail) }
    }

    /// Every fault of the parameters given to an action.
    pub(crate) fn parameters(action: &str, faults: &[ParameterFault]) -> Self {
        let errors: Vec<ProblemError> = faults
            .iter()
            .map(|fault| ProblemError { parameter: name_of(fault), detail: fault.to_string() })
            .collect();
        let told: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
        let mut problem =
            Self::new(Kind::InvalidParameters, format!("action '{action}': {}", told.join("; ")));
        problem.document.errors = errors;
        problem
    }

    /// The document alone, for places that are not the answer itself.
    pub(crate) fn into_document(self) -> ProblemDocument {
        *self.document
    }
}

fn name_of(fault: &ParameterFault) -> Option<String> {
    match fault {
        ParameterFault::Missing { name, .. }
        | ParameterFault::Unknown { name, .. }
        | ParameterFault::Invalid { name, .. } => Some(name.clone()),
        ParameterFault::TooLarge { .. } => None,
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::NotFound(_) = error {
            return Self::new(Kind::NotFound, error.to_string());
        }
        // what the database says may name hosts, files and tables: that is for the operator only
        tracing::error!(%error, "the store failed");
        Self::new(
            Kind::Internal,
            "the store failed; try again, and if that does not help, see the server's log",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// Names problems that several operations can answer with, for the OpenAPI document.
macro_rules! documented_problems {
    ($($(#[$meaning:meta])* $name:ident: $($status:literal => $description:literal),+;)+) => {$(
        $(#[$meaning])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                [$(($status, $description)),+].into_iter().map(documented).collect()
            }
        }
    )+};
}

documented_problems! {
    /// Every protected operation.
    CommonProblems:
        400 => "a path segment, query parameter or header cannot be understood",
        401 => "the bearer token is missing or wrong",
        500 => "the server failed; its log tells why";
    /// Whatever is about one execution.
    NoSuchExecution: 404 => "there is no such execution";
    /// Whatever is about one attempt of an execution.
    NoSuchAttempt: 404 => "there is no such execution or attempt";
    /// Whatever is about the workers of one name.
    NoSuchWorker: 404 => "there is no such worker";
}

fn documented((status, description): (u16, &str)) -> (String, RefOr<utoipa::openapi::Response>) {
    let content = ContentBuilder::new()
        .schema(Some(utoipa::openapi::Ref::from_schema_name(ProblemDocument::name())))
        .build();
    let response = ResponseBuilder::new().description(description).content(MEDIA_TYPE, content);
    (status.to_string(), RefOr::T(response.build()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_says_stays_inside() {
        let corrupt = StoreError::Corrupt { what: "parameters", reason: "hunter2".to_owned() };
        for (error, status) in [
            (corrupt, 500),
            (StoreError::Fenced, 500),
            (StoreError::NotFound("action demo.greet".to_owned()), 404),
        ] {
            let document = Problem::from(error).into_document();
            assert_eq!(document.status, status);
            assert!(!document.detail.contains("hunter2"), "{document:?}");
        }
    }
}
