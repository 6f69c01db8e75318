//! One try at an event: begin, mark, handle, commit.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;

use super::{Shared, dispatch::Dispatch};
use crate::{
    Envelope, Error, ErrorKind, EventContext, EventSource, HandlerError, Mark, ProcessedEventStore,
    error_chain,
};

/// How much longer than its handlers a transaction may live: enough to be rolled back.
const ROLLBACK: Duration = Duration::from_secs(5);

/// How a try ended well.
pub(super) enum Outcome {
    /// The effect is committed.
    Handled,
    /// It was, before.
    Repeat,
}

/// How a try failed: the transaction is rolled back, or its outcome is for the marks to tell.
pub(super) enum Failed {
    /// The surroundings: no attempt is charged.
    Infrastructure(Error),
    /// The event or its handler.
    Event { kind: ErrorKind, reason: String, permanent: bool },
}

type Handlers<P> = [Arc<dyn Dispatch<<P as ProcessedEventStore>::Tx>>];

impl<S: EventSource, P: ProcessedEventStore> Shared<S, P> {
    pub(super) async fn attempt(
        &self,
        envelope: &Envelope,
        handlers: &Handlers<P>,
    ) -> Result<Outcome, Failed> {
        let name = &self.settings.name;
        let limit = self.settings.handler_timeout + ROLLBACK;
        let mut tx = self.inbox.begin(limit).await.map_err(|error| self.judge(error))?;
        let marks = match self.inbox.mark(&mut tx, name, &[envelope.event_id]).await {
            Ok(marks) => marks,
            Err(error) => {
                self.roll_back(tx).await;
                return Err(self.judge(error));
            }
        };
        if marks.first() != Some(&Mark::First) {
            self.roll_back(tx).await;
            return Ok(Outcome::Repeat);
        }
        if let Err(failed) = self.handle(&mut tx, envelope, handlers).await {
            self.roll_back(tx).await;
            return Err(failed);
        }
        self.inbox.commit(tx).await.map_err(|error| self.judge_commit(error))?;
        Ok(Outcome::Handled)
    }

    async fn handle(
        &self,
        tx: &mut P::Tx,
        envelope: &Envelope,
        handlers: &Handlers<P>,
    ) -> Result<(), Failed> {
        let mut context = EventContext::caused_by(envelope);
        context.consumer = Some(self.settings.name.clone());
        let work = context.scope(async {
            for handler in handlers {
                handler.dispatch(tx, envelope).await?;
            }
            Ok::<_, HandlerError>(())
        });
        // A handler that panicked leaves nothing behind but the transaction, which is rolled back.
        let work = AssertUnwindSafe(work).catch_unwind();
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

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
