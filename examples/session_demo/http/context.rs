//! What a request says about the events that follow from it.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use relaybox::{EventContext, Label, TraceContext};
use uuid::Uuid;

use super::problem::Problem;

const CORRELATION_ID: &str = "x-correlation-id";

/// Runs the request in an [`EventContext`] of its correlation id and trace; events that it enqueues,
/// and events that their handlers enqueue, carry both.
pub(super) async fn scope(request: Request, next: Next) -> Response {
    let id = match correlation_id(request.headers()) {
        Ok(id) => id,
        Err(problem) => return problem.into_response(),
    };
    let mut context = EventContext::new().with_correlation_id(id.clone());
    if let Some(trace) = trace(request.headers()) {
        context = context.with_trace(trace);
    }
    let mut response = context.scope(next.run(request)).await;
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(CORRELATION_ID, id);
    }
    response
}

/// The client's, or a new one.
fn correlation_id(headers: &HeaderMap) -> Result<Label, Problem> {
    let id = match headers.get(CORRELATION_ID) {
        None => Some(Uuid::now_v7().to_string()),
        Some(value) => value.to_str().ok().filter(|id| !id.is_empty()).map(str::to_owned),
    };
    id.and_then(|id| Label::new(id).ok()).ok_or_else(|| {
        let detail = format!("{CORRELATION_ID} must have 1 to {} ASCII characters", Label::MAX_LEN);
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// A malformed trace is no reason to refuse a request: it starts a new one.
fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::parse(text("traceparent")?, text("tracestate")).ok()
}
