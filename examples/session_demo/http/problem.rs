//! Problem details for HTTP APIs, RFC 9457.

use axum::{
    extract::rejection::{JsonRejection, PathRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{database::DatabaseError, session::SessionError};

/// An error, as the client sees it.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    /// None of its own: the status says what it is.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status, detail: detail.into() }
    }

    /// A failure of ours: the log gets the cause, the client doesn't.
    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = relaybox::error_chain(error), "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the service failed; try again")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (self.status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let status = match &error {
            SessionError::InvalidDevice => StatusCode::UNPROCESSABLE_ENTITY,
            SessionError::NotFound => StatusCode::NOT_FOUND,
            SessionError::Revoked | SessionError::Conflict | SessionError::TooManySessions => {
                StatusCode::CONFLICT
            }
            SessionError::Database(_) | SessionError::Outbox(_) => return Self::internal(&error),
        };
        Self::new(status, error.to_string())
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        Self::internal(&error)
    }
}

/// axum's own words say what is wrong with the body, and its own status which kind of wrong.
impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}
