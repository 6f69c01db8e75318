//! One partition's batch, record by record, in order.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

use super::{
    Shared, UnknownEvents,
    attempt::{Failed, Outcome},
    dispatch::Known,
};
use crate::{
    ConsumerName, DeadLetterNotice, Delivery, Envelope, Error, ErrorKind, EventSource, Failure,
    GiveUp, GivenUpAt, Offset, Partition, ProcessedEventStore, Result, cloudevents,
    error::bounded_reason, error_chain, retry::Backoff, telemetry, trace,
};

/// Tells a lane to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Finish the event under way, begin no other.
    pub(super) soft: CancellationToken,
    /// Drop the event under way.
    pub(super) hard: CancellationToken,
}

/// A partition as its assignment lasts.
pub(super) struct Lane<S, P: ProcessedEventStore> {
    pub(super) partition: Partition,
    shared: Arc<Shared<S, P>>,
    /// What was given up on before and may be delivered again; asked once.
    given_up: Option<HashMap<Offset, GivenUpAt>>,
    backoff: Backoff,
}

/// Why a batch was not finished.
enum Abandoned {
    Stopped,
    Final(Error),
}

impl<S: EventSource, P: ProcessedEventStore> Lane<S, P> {
    pub(super) fn new(shared: Arc<Shared<S, P>>, partition: Partition) -> Self {
        let backoff = Backoff::new(shared.settings.retry.clone(), shared.settings.rng());
        Self { partition, shared, given_up: None, backoff }
    }

    /// Handles a batch and acknowledges it, or as much of it as was done when it was stopped.
    ///
    /// # Errors
    /// What only a person can mend.
    pub(super) async fn handle(&mut self, deliveries: Vec<Delivery>, stop: &Stop) -> Result<()> {
        let mut done = None;
        let mut abandoned = None;
        for delivery in &deliveries {
            // A store that is always ready must not keep the thread from everyone else.
            tokio::task::coop::consume_budget().await;
            if stop.soft.is_cancelled() {
                abandoned = Some(Abandoned::Stopped);
                break;
            }
            let ended = tokio::select! {
                biased;
                () = stop.hard.cancelled() => Err(Abandoned::Stopped),
                ended = self.deliver(delivery, stop) => ended,
            };
            match ended {
                Ok(()) => done = Some(delivery.offset),
                Err(why) => {
                    abandoned = Some(why);
                    break;
                }
            }
        }
        if let (Some(through), Some(known)) = (done, &mut self.given_up) {
            known.retain(|offset, _| *offset > through);
        }
        if let Some(through) = done
            && let Err(error) = self.shared.source.acknowledge(&self.partition, through).await
        {
            // It will be delivered again, and known as a repeat.
            debug!(partition = %self.partition, error = error_chain(&error), "not acknowledged");
            if abandoned.is_none() {
                abandoned = Some(Abandoned::Stopped);
            }
        }
        match abandoned {
            None => Ok(()),
            Some(why) => {
                release(&self.shared, &self.partition).await;
                match why {
                    Abandoned::Stopped => Ok(()),
                    Abandoned::Final(error) => Err(error),
                }
            }
        }
    }

    async fn deliver(&mut self, delivery: &Delivery, stop: &Stop) -> Result<(), Abandoned> {
        if let Some(progress) = self.given_up_before(delivery, stop).await? {
            return self.give_up_again(delivery, progress, stop).await;
        }
        if is_redriven_for_another(delivery, &self.shared.settings.name) {
            telemetry::skipped(self.shared.settings.name.as_str());
            return Ok(());
        }
        let envelope = match read(delivery) {
            Ok(envelope) => envelope,
            Err(error) => {
                let failure = self.failure(error.kind(), error_chain(&error), 0);
                return self.give_up(delivery, None, failure, stop).await;
            }
        };
        let span = tracing::info_span!(
            "relaybox.handle",
            otel.kind = "consumer",
            consumer = %self.shared.settings.name,
            event_type = %envelope.event_type,
            event_id = %envelope.event_id,
            trace_id = envelope.metadata.trace.as_ref().map(crate::TraceContext::trace_id),
        );
        if let Some(context) = &envelope.metadata.trace {
            trace::set_parent(&span, context);
        }
        self.dispatch(delivery, &envelope, stop).instrument(span).await
    }

    async fn dispatch(
        &mut self,
        delivery: &Delivery,
        envelope: &Envelope,
        stop: &Stop,
    ) -> Result<(), Abandoned> {
        let shared = Arc::clone(&self.shared);
        let event_type = &envelope.event_type;
        let refusal = match shared.registry.find(event_type) {
            Known::Handlers(handlers) => {
                return match self.try_until_done(envelope, handlers, stop).await? {
                    Ok(()) => Ok(()),
                    Err(failure) => self.give_up(delivery, Some(envelope), failure, stop).await,
                };
            }
            Known::Unknown if shared.settings.unknown == UnknownEvents::Skip => {
                telemetry::skipped(shared.settings.name.as_str());
                return Ok(());
            }
            Known::Unknown => self.failure(
                ErrorKind::UnknownEventType,
                format!("no handler knows {event_type}"),
                0,
            ),
            Known::OtherVersions(versions) => self.failure(
                ErrorKind::UnsupportedVersion,
                format!("no handler knows {event_type}; known versions: {versions:?}"),
                0,
            ),
        };
        self.give_up(delivery, Some(envelope), refusal, stop).await
    }

    /// Tries until the event is handled, or gives the failure it is given up for.
    async fn try_until_done(
        &mut self,
        envelope: &Envelope,
        handlers: &[Arc<dyn super::dispatch::Dispatch<P::Tx>>],
        stop: &Stop,
    ) -> Result<Result<(), Failure>, Abandoned> {
        let shared = Arc::clone(&self.shared);
        let name = shared.settings.name.as_str();
        let mut charged = 0;
        loop {
            let since = Instant::now();
            match shared.attempt(envelope, handlers).await {
                Ok(outcome) => {
                    self.backoff.succeed();
                    match outcome {
                        Outcome::Handled => {
                            telemetry::handled(name, &envelope.event_type, since.elapsed());
                        }
                        Outcome::Repeat => telemetry::duplicate(name),
                    }
                    return Ok(Ok(()));
                }
                Err(Failed::Infrastructure(error)) => self.pause(error, stop).await?,
                Err(Failed::Event { kind, reason, permanent }) => {
                    charged += 1;
                    telemetry::handle_failed(name, kind);
                    if permanent || shared.settings.retry.is_exhausted(charged) {
                        return Ok(Err(self.failure(kind, reason, charged)));
                    }
                    let error = Error::new(kind, "handle an event").detail(reason);
                    self.pause(error, stop).await?;
                }
            }
        }
    }

    /// Writes the dead letter, then lets the offset move on. Decided before it is written, so that
    /// after a crash in between no handler runs.
    async fn give_up(
        &mut self,
        delivery: &Delivery,
        envelope: Option<&Envelope>,
        failure: Failure,
        stop: &Stop,
    ) -> Result<(), Abandoned> {
        self.decide(delivery, &failure, GiveUp::Decided, stop).await?;
        self.dead_letter(delivery, &failure, stop).await?;
        self.backoff.succeed();
        self.announce(delivery, envelope, &failure);
        Ok(())
    }

    fn announce(&self, delivery: &Delivery, envelope: Option<&Envelope>, failure: &Failure) {
        let settings = &self.shared.settings;
        telemetry::dead_lettered(settings.name.as_str());
        tracing::error!(
            consumer = %settings.name,
            partition = %delivery.partition,
            offset = delivery.offset,
            attempts = failure.attempts,
            reason = failure.reason,
            "event given up on; see the dead-letter topic"
        );
        settings.hooks.dead_letter(&DeadLetterNotice {
            component: settings.name.as_str(),
            event_id: envelope.map(|envelope| envelope.event_id),
            event_type: envelope.map(|envelope| &envelope.event_type),
            aggregate: envelope.map(|envelope| (&envelope.aggregate_type, &envelope.aggregate_id)),
            kind: failure.kind,
            reason: &failure.reason,
            attempts: failure.attempts,
        });
    }

    /// A delivery that was given up on before a crash: finishes what the crash interrupted.
    async fn give_up_again(
        &mut self,
        delivery: &Delivery,
        progress: GiveUp,
        stop: &Stop,
    ) -> Result<(), Abandoned> {
        if progress == GiveUp::DeadLettered {
            return Ok(());
        }
        let reason = "given up on before a restart; given_up_events says why";
        let failure = self.failure(ErrorKind::Other, reason.to_owned(), 0);
        let envelope = read(delivery).ok();
        self.dead_letter(delivery, &failure, stop).await?;
        self.announce(delivery, envelope.as_ref(), &failure);
        Ok(())
    }

    async fn dead_letter(
        &mut self,
        delivery: &Delivery,
        failure: &Failure,
        stop: &Stop,
    ) -> Result<(), Abandoned> {
        while let Err(error) = self.shared.source.dead_letter(delivery, failure).await {
            self.pause(error, stop).await?;
        }
        self.decide(delivery, failure, GiveUp::DeadLettered, stop).await
    }

    async fn decide(
        &mut self,
        delivery: &Delivery,
        failure: &Failure,
        progress: GiveUp,
        stop: &Stop,
    ) -> Result<(), Abandoned> {
        let shared = Arc::clone(&self.shared);
        let inbox = &shared.inbox;
        let at = GivenUpAt::new(delivery.offset, delivery.fingerprint(), progress);
        while let Err(error) = inbox.give_up(&delivery.partition, at, failure).await {
            self.pause(error, stop).await?;
        }
        if let Some(known) = &mut self.given_up {
            known.insert(delivery.offset, at);
        }
        Ok(())
    }

    async fn given_up_before(
        &mut self,
        delivery: &Delivery,
        stop: &Stop,
    ) -> Result<Option<GiveUp>, Abandoned> {
        let shared = Arc::clone(&self.shared);
        loop {
            if let Some(known) = &self.given_up {
                return Ok(known
                    .get(&delivery.offset)
                    .filter(|at| at.fingerprint == delivery.fingerprint())
                    .map(|at| at.progress));
            }
            let name = &shared.settings.name;
            match shared.inbox.given_up(name, &self.partition, delivery.offset).await {
                Ok(known) => {
                    self.given_up = Some(known.into_iter().map(|at| (at.offset, at)).collect());
                }
                Err(error) => self.pause(error, stop).await?,
            }
        }
    }

    /// Waits before the next try, unless there will be none.
    async fn pause(&mut self, error: Error, stop: &Stop) -> Result<(), Abandoned> {
        if error.is_final() {
            return Err(Abandoned::Final(error));
        }
        let wait: Duration = self.backoff.fail();
        self.shared.report(&error, wait);
        tokio::select! {
            biased;
            () = stop.soft.cancelled() => Err(Abandoned::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    fn failure(&self, kind: ErrorKind, reason: String, attempts: u32) -> Failure {
        let reason = bounded_reason(reason);
        let settings = &self.shared.settings;
        Failure::new(settings.name.clone(), kind, reason, attempts, settings.clock.now())
    }
}

/// Gives a partition's batch back; the broker delivers the rest of it again.
pub(super) async fn release<S: EventSource, P: ProcessedEventStore>(
    shared: &Shared<S, P>,
    partition: &Partition,
) {
    if let Err(error) = shared.source.release(partition).await {
        debug!(%partition, error = error_chain(&error), "not released");
    }
}

/// Whether it was sent back for a consumer that gave it up, and that is not this one.
fn is_redriven_for_another(delivery: &Delivery, name: &ConsumerName) -> bool {
    let wanted = delivery.headers().find(|(name, _)| *name == "redrive-consumer");
    wanted.is_some_and(|(_, wanted)| wanted != name.as_str().as_bytes())
}

fn read(delivery: &Delivery) -> Result<Envelope> {
    let value = delivery.value.clone().ok_or_else(|| {
        Error::new(ErrorKind::Decode, "read a record").detail("it is a tombstone, not an event")
    })?;
    cloudevents::parse(delivery.key.as_deref(), delivery.headers(), value)
}
