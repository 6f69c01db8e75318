//! Trace context: stored with an event, given back to whoever handles it.

#[cfg(feature = "opentelemetry")]
mod otel;
mod w3c;

pub use self::w3c::TraceContext;

/// The trace context of the current span, if a tracer knows one.
///
/// Without the feature `opentelemetry` there is no tracer to ask: it comes from the
/// [`EventContext`](crate::EventContext) alone.
pub(crate) fn of_current_span() -> Option<TraceContext> {
    #[cfg(feature = "opentelemetry")]
    return otel::of_current_span();
    #[cfg(not(feature = "opentelemetry"))]
    None
}

/// Makes `span` a child of the span that enqueued the event.
pub(crate) fn set_parent(span: &tracing::Span, context: &TraceContext) {
    #[cfg(feature = "opentelemetry")]
    otel::set_parent(span, context);
    #[cfg(not(feature = "opentelemetry"))]
    let _ = (span, context);
}
