//! One try at a batch of events: begin, mark, handle, commit.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tracing::Instrument;

use super::{
    Shared,
    dispatch::{Entry, Handlers},
};
use crate::{
    Delivery, Envelope, Error, ErrorKind, EventContext, EventId, EventSource, Failure,
    HandlerError, Mark, ProcessedEventStore, TraceContext, cloudevents, error_chain, trace,
};

/// How much longer than its handlers a transaction may live: enough to be rolled back.
const ROLLBACK: Duration = Duration::from_secs(5);

/// An event with its handlers.
pub(super) struct Work<'a, Tx> {
    /// Which delivery of the batch it is.
    pub(super) index: usize,
    pub(super) delivery: &'a Delivery,
    pub(super) event_id: EventId,
    pub(super) entry: &'a Entry<Tx>,
}

/// How a try failed: the transaction is rolled back, or its outcome is for the marks to tell.
pub(super) enum Failed {
    /// The surroundings: no attempt is charged.
    Infrastructure(Error),
    /// The record is no event, whatever its id and type say: no handler ran.
    Unreadable(Error),
    /// It was not tried: too many processes died of it.
    Condemned(Failure),
    /// The event or its handler.
    Event { kind: ErrorKind, reason: String, permanent: bool },
}

impl<S: EventSource, P: ProcessedEventStore> Shared<S, P> {
    /// Handles events in order in one transaction, and says which were repeats.
    pub(super) async fn attempt(&self, works: &[Work<'_, P::Tx>]) -> Result<Vec<Mark>, Failed> {
        let name = &self.settings.name;
        let limit = self.settings.handler_timeout + ROLLBACK;
        let ids: Vec<EventId> = works.iter().map(|work| work.event_id).collect();
        for work in works {
            self.prepare(work).await?;
        }
        let mut tx = self.inbox.begin(limit).await.map_err(|error| self.judge(error))?;
        let marks = match self.inbox.mark(&mut tx, name, &ids).await {
            Ok(marks) => marks,
            Err(error) => {
                self.roll_back(tx).await;
                return Err(self.judge(error));
            }
        };
        if !marks.contains(&Mark::First) {
            self.roll_back(tx).await;
            return Ok(marks);
        }
        let new = works.iter().zip(&marks).filter(|(_, mark)| **mark == Mark::First);
        for (work, _) in new {
            if let Err(failed) = self.handle(&mut tx, work).await {
                self.roll_back(tx).await;
                return Err(failed);
            }
        }
        self.inbox.commit(tx).await.map_err(|error| self.judge_commit(error))?;
        Ok(marks)
    }

    /// Fetches what decoding will need, before anything is begun.
    async fn prepare(&self, work: &Work<'_, P::Tx>) -> Result<(), Failed> {
        let payload = work.delivery.value.as_deref().unwrap_or_default();
        work.entry.prepare(payload).await.map_err(|error| {
            if error.is_infrastructure() {
                Failed::Infrastructure(error)
            } else {
                Failed::Unreadable(error)
            }
        })
    }

    async fn handle(&self, tx: &mut P::Tx, work: &Work<'_, P::Tx>) -> Result<(), Failed> {
        let Handlers::Transactional(handlers) = &work.entry.handlers else { return Ok(()) };
        let envelope = &read(work.delivery).map_err(Failed::Unreadable)?;
        self.guard(envelope, async {
            let lifted = work.entry.lift(envelope)?;
            for handler in handlers {
                handler.dispatch(tx, envelope, lifted.as_ref()).await?;
            }
            Ok(())
        })
        .await
    }

    /// Runs an event's handlers that have no transaction.
    pub(super) async fn handle_outside(&self, work: &Work<'_, P::Tx>) -> Result<(), Failed> {
        let Handlers::AtLeastOnce(handlers) = &work.entry.handlers else { return Ok(()) };
        self.prepare(work).await?;
        let envelope = &read(work.delivery).map_err(Failed::Unreadable)?;
        self.guard(envelope, async {
            let lifted = work.entry.lift(envelope)?;
            for handler in handlers {
                handler.dispatch(envelope, lifted.as_ref()).await?;
            }
            Ok(())
        })
        .await
    }

    /// Marks events whose handlers have run, in a transaction of its own.
    pub(super) async fn mark_handled(&self, events: &[EventId]) -> Result<(), Error> {
        let mut tx = self.inbox.begin(ROLLBACK).await?;
        match self.inbox.mark(&mut tx, &self.settings.name, events).await {
            Ok(_) => self.inbox.commit(tx).await,
            Err(error) => {
                self.roll_back(tx).await;
                Err(error)
            }
        }
    }

    /// Gives handlers their context, their time and a net below.
    async fn guard(
        &self,
        envelope: &Envelope,
        work: impl Future<Output = Result<(), HandlerError>> + Send,
    ) -> Result<(), Failed> {
        let span = tracing::info_span!(
            "relaybox.handle",
            otel.kind = "consumer",
            consumer = %self.settings.name,
            event_type = %envelope.event_type,
            event_id = %envelope.event_id,
            trace_id = envelope.metadata.trace.as_ref().map(TraceContext::trace_id),
        );
        if let Some(context) = &envelope.metadata.trace {
            trace::set_parent(&span, context);
        }
        let mut context = EventContext::caused_by(envelope);
        context.consumer = Some(self.settings.name.clone());
        // A handler that panicked leaves nothing behind but the transaction, which is rolled back.
        let work = AssertUnwindSafe(context.scope(work)).catch_unwind().instrument(span);
        match tokio::time::timeout(self.settings.handler_timeout, work).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(self.judge_handler(&error)),
            Ok(Err(panic)) => Err(Failed::Event {
                kind: ErrorKind::Other,
                reason: format!("the handler panicked: {}", panic_text(&*panic)),
                permanent: false,
            }),
            Err(_) => Err(Failed::Event {
                kind: ErrorKind::Timeout,
                reason: format!("the handler took longer than {:?}", self.settings.handler_timeout),
                permanent: false,
            }),
        }
    }

    async fn roll_back(&self, tx: P::Tx) {
        // It may have to wait for the statement under way, which the database ends at its limit.
        match tokio::time::timeout(ROLLBACK * 2, self.inbox.rollback(tx)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = error_chain(&error), "rolled back by the database instead");
            }
            Err(_) => tracing::warn!("a rollback takes long; the database ends the transaction"),
        }
    }

    /// The store's own failure: almost always the surroundings, but a deferred constraint speaks only
    /// at commit.
    fn judge(&self, error: Error) -> Failed {
        if error.is_infrastructure() || error.is_final() {
            return Failed::Infrastructure(error);
        }
        Failed::Event { kind: error.kind(), reason: error_chain(&error), permanent: false }
    }

    /// A transaction that the database ended for its idleness is the handler's doing.
    fn judge_commit(&self, error: Error) -> Failed {
        match error.kind() {
            ErrorKind::Timeout => Failed::Event {
                kind: ErrorKind::Timeout,
                reason: error_chain(&error),
                permanent: false,
            },
            _ => self.judge(error),
        }
    }

    fn judge_handler(&self, error: &HandlerError) -> Failed {
        let source = error.source();
        let own = source.downcast_ref::<Error>();
        let surroundings = match own {
            // An outbox without its tables is no event's fault: a person must mend it.
            Some(own) if own.kind() == ErrorKind::Schema => Some(ErrorKind::Schema),
            Some(own) if own.is_infrastructure() => Some(own.kind()),
            _ if error.is_permanent() => None,
            _ => self.inbox.classify(source),
        };
        match surroundings {
            // A statement that takes too long is the handler's own, and would be again.
            Some(kind) if kind != ErrorKind::Timeout => Failed::Infrastructure(
                Error::new(kind, "handle an event").detail(error_chain(source)),
            ),
            _ => Failed::Event {
                kind: own.map(Error::kind).or(surroundings).unwrap_or(ErrorKind::Other),
                reason: error_chain(source),
                permanent: error.is_permanent(),
            },
        }
    }
}

/// The event in a record.
pub(super) fn read(delivery: &Delivery) -> Result<Envelope, Error> {
    let value = delivery.value.clone().ok_or_else(|| {
        Error::new(ErrorKind::Decode, "read a record").detail("it is a tombstone, not an event")
    })?;
    cloudevents::parse(delivery.key.as_deref(), delivery.headers(), value)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
