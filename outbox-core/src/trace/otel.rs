//! The bridge to tracing-opentelemetry.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::TraceContext;

pub(super) fn of_current_span() -> Option<TraceContext> {
    let context = tracing::Span::current().context();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return None;
    }
    let parent =
        format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    TraceContext::parse(&parent, Some(&span.trace_state().header())).ok()
}

pub(super) fn set_parent(span: &tracing::Span, context: &TraceContext) {
    let Some(remote) = span_context(context) else { return };
    // Fails when the span is disabled or no OpenTelemetry layer is installed: there is no trace then.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
}

fn span_context(context: &TraceContext) -> Option<SpanContext> {
    let parent = context.traceparent();
    let state = context.tracestate().and_then(|state| state.parse::<TraceState>().ok());
    Some(SpanContext::new(
        TraceId::from_hex(&parent[3..35]).ok()?,
        SpanId::from_hex(&parent[36..52]).ok()?,
        TraceFlags::new(u8::from_str_radix(&parent[53..55], 16).ok()?),
        true,
        state.unwrap_or_default(),
    ))
}
