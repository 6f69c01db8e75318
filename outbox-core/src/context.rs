//! What the events of one request have in common.

use std::future::Future;

use crate::{ConsumerName, Envelope, EventId, Headers, Label, trace::TraceContext};

tokio::task_local! {
    static CURRENT: EventContext;
}

/// What the events that are enqueued while a request or a handler runs have in common.
///
/// The [`Consumer`](crate::Consumer) sets it around every handler, so that events which a handler
/// enqueues inherit the correlation id and carry the handled event's id as causation id. A service
/// sets it around a request:
///
/// ```
/// # use relaybox_core::{EventContext, Label};
/// # async fn serve_request() {}
/// # async fn example() -> Result<(), relaybox_core::Error> {
/// let context = EventContext::new()
///     .with_correlation_id(Label::new("request-17")?)
///     .with_user_id(Label::new("ada")?);
/// context.scope(serve_request()).await;
/// # Ok(()) }
/// ```
///
/// It belongs to the task: a task that is spawned inside does not see it, unless it is given
/// [`EventContext::current`] and scopes it itself.
#[derive(Debug, Clone, Default)]
pub struct EventContext {
    pub(crate) correlation_id: Option<Label>,
    pub(crate) causation_id: Option<EventId>,
    pub(crate) user_id: Option<Label>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) headers: Headers,
    pub(crate) consumer: Option<ConsumerName>,
}

impl EventContext {
    /// A context that says nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The context in which this code runs, or an empty one.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// The context of events that follow from `cause`.
    #[must_use]
    pub fn caused_by(cause: &Envelope) -> Self {
        let metadata = &cause.metadata;
        Self {
            correlation_id: Some(
                metadata.correlation_id.clone().unwrap_or_else(|| cause.event_id.into()),
            ),
            causation_id: Some(cause.event_id),
            user_id: metadata.user_id.clone(),
            trace: metadata.trace.clone(),
            headers: Headers::default(),
            consumer: None,
        }
    }

    /// Sets what all events that follow from one request share.
    #[must_use]
    pub fn with_correlation_id(mut self, id: Label) -> Self {
        self.correlation_id = Some(id);
        self
    }

    /// Sets who asked.
    #[must_use]
    pub fn with_user_id(mut self, id: Label) -> Self {
        self.user_id = Some(id);
        self
    }

    /// Sets the trace that events belong to when no tracer says otherwise.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Sets headers that every event gets.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Runs `work` in this context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The consumer whose handler this code runs in, if it does.
    #[must_use]
    pub fn consumer(&self) -> Option<&ConsumerName> {
        self.consumer.as_ref()
    }
}
