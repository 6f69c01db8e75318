//! The deliveries of a batch that keep their order: all of a partition's, or those of some keys.

use std::mem;

use tokio::time::Instant;
use tracing::debug;

use super::{
    Shared, UnknownEvents,
    attempt::{Failed, Work, read},
    dispatch::{Handlers, Known},
    glance::Glance,
    lane::{Abandoned, Lane, Stop},
    patience::Patience,
    progress::Progress,
};
use crate::{
    Delivery, Error, ErrorKind, EventSource, Failure, GiveUp, Mark, ProcessedEventStore,
    Redelivery, Result, error::bounded_reason, error_chain, telemetry,
};

/// Handles deliveries in order, as many as may be in a transaction.
pub(super) struct Strand<'a, S, P: ProcessedEventStore> {
    pub(super) lane: &'a Lane<S, P>,
    pub(super) shared: &'a Shared<S, P>,
    pub(super) stop: &'a Stop,
    pub(super) patience: Patience,
    deliveries: &'a [Delivery],
    progress: &'a Progress,
}

/// Deliveries that are handled together.
struct Run<'a, Tx> {
    works: Vec<Work<'a, Tx>>,
    /// Deliveries in between that are not for us.
    skipped: Vec<usize>,
}

/// What is to be done with a delivery.
enum Sorted<'a, Tx> {
    /// Handlers get it.
    Work(Work<'a, Tx>),
    /// Nobody does.
    Skip,
    /// It was given up on before, in a life that ended.
    GivenUp(GiveUp),
    /// No handler can read it.
    Refused(Failure),
}

impl<'a, S: EventSource, P: ProcessedEventStore> Strand<'a, S, P> {
    pub(super) fn new(
        lane: &'a Lane<S, P>,
        deliveries: &'a [Delivery],
        progress: &'a Progress,
        stop: &'a Stop,
    ) -> Self {
        let shared = &*lane.shared;
        Self { lane, shared, stop, patience: shared.patience(), deliveries, progress }
    }

    /// Handles some of the batch's deliveries.
    pub(super) async fn handle(
        mut self,
        share: Vec<(usize, &'a Delivery)>,
    ) -> Result<(), Abandoned> {
        let mut run = Run { works: Vec::new(), skipped: Vec::new() };
        for (index, delivery) in share {
            // A store that is always ready must not keep the thread from everyone else.
            tokio::task::coop::consume_budget().await;
            match self.sort(index, delivery) {
                Sorted::Work(work) => {
                    if run.works.len() >= self.lane.pace.size() || run.is_of_another_kind(&work) {
                        self.finish(&mut run).await?;
                    }
                    run.works.push(work);
                }
                Sorted::Skip => run.skipped.push(index),
                Sorted::GivenUp(progress) => {
                    self.finish(&mut run).await?;
                    self.give_up_again(delivery, progress).await?;
                    self.done([index]).await?;
                }
                Sorted::Refused(failure) => {
                    self.finish(&mut run).await?;
                    self.give_up(delivery, &failure).await?;
                    self.done([index]).await?;
                }
            }
        }
        self.finish(&mut run).await
    }

    fn sort(&self, index: usize, delivery: &'a Delivery) -> Sorted<'a, P::Tx> {
        if let Some(progress) = self.lane.given_up_before(delivery) {
            return Sorted::GivenUp(progress);
        }
        let settings = &self.shared.settings;
        let glance = Glance::at(delivery);
        if glance.redriven_for.is_some_and(|name| name != settings.name.as_str().as_bytes()) {
            return Sorted::Skip;
        }
        // What is a repeat is never read any further.
        if let Some(event_id) = glance.event_id
            && let Some(entry) = glance.event_type.and_then(|name| self.shared.registry.named(name))
        {
            return Sorted::Work(Work { index, delivery, event_id, entry });
        }
        let envelope = match read(delivery) {
            Ok(envelope) => envelope,
            Err(error) => return Sorted::Refused(self.unreadable(&error)),
        };
        let event_type = &envelope.event_type;
        let (kind, reason) = match self.shared.registry.find(event_type) {
            Known::Handlers(entry) => {
                let event_id = envelope.event_id;
                return Sorted::Work(Work { index, delivery, event_id, entry });
            }
            Known::Unknown if settings.unknown == UnknownEvents::Skip => return Sorted::Skip,
            Known::Unknown => {
                (ErrorKind::UnknownEventType, format!("no handler knows {event_type}"))
            }
            Known::OtherVersions(versions) => (
                ErrorKind::UnsupportedVersion,
                format!("no handler knows {event_type}; known versions: {versions:?}"),
            ),
        };
        Sorted::Refused(self.failure(kind, reason, 0))
    }

    /// Handles what was gathered.
    async fn finish(&mut self, run: &mut Run<'a, P::Tx>) -> Result<(), Abandoned> {
        let works = mem::take(&mut run.works);
        match works.first().map(|work| &work.entry.handlers) {
            None => {}
            Some(Handlers::Transactional(_)) => self.together(works).await?,
            Some(Handlers::AtLeastOnce(_)) => self.outside(works).await?,
        }
        let skipped = mem::take(&mut run.skipped);
        if !skipped.is_empty() {
            telemetry::skipped(self.shared.settings.name.as_str(), skipped.len());
            self.done(skipped).await?;
        }
        Ok(())
    }

    /// Handles events in one transaction; one by one when that fails.
    async fn together(&mut self, works: Vec<Work<'a, P::Tx>>) -> Result<(), Abandoned> {
        while works.len() > 1 && !self.lane.is_careful() {
            self.go_on()?;
            let since = Instant::now();
            let turn = self.shared.turn.read().await;
            let outcome = self.shared.attempt(&works).await;
            drop(turn);
            match outcome {
                Ok(marks) => {
                    self.patience.succeed();
                    self.lane.pace.committed(works.len(), since.elapsed());
                    self.count(&works, &marks, since);
                    return self.done(works.iter().map(|work| work.index)).await;
                }
                // Its neighbours are in each other's way, most likely: not all at once, then.
                Err(Failed::Infrastructure(error)) if error.kind() != ErrorKind::Conflict => {
                    self.pause(error).await?;
                }
                Err(Failed::Infrastructure(error)) => {
                    telemetry::handle_failed(self.shared.settings.name.as_str(), error.kind());
                    break;
                }
                Err(Failed::Event { kind, .. }) => {
                    telemetry::handle_failed(self.shared.settings.name.as_str(), kind);
                    self.lane.pace.failed();
                    break;
                }
                Err(Failed::Unreadable(_) | Failed::Condemned(_)) => break,
            }
        }
        for work in works {
            self.alone(&work).await?;
            self.done([work.index]).await?;
        }
        Ok(())
    }

    /// Handles one event, until its effect is committed, it is put off or given up on.
    async fn alone(&mut self, work: &Work<'a, P::Tx>) -> Result<(), Abandoned> {
        let mut charged = work.delivery.attempts;
        loop {
            self.go_on()?;
            let since = Instant::now();
            let attempt = self.shared.attempt(std::slice::from_ref(work));
            match self.in_turn(work.delivery, attempt).await? {
                Ok(marks) => {
                    self.patience.succeed();
                    self.lane.pace.committed(1, since.elapsed());
                    self.count(std::slice::from_ref(work), &marks, since);
                    return Ok(());
                }
                Err(failed) => {
                    if self.failed(work, failed, &mut charged).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Tries an event when it is its turn: beside others, or, where processes died, alone and noted.
    pub(super) async fn in_turn<T>(
        &mut self,
        delivery: &Delivery,
        attempt: impl Future<Output = Result<T, Failed>> + Send,
    ) -> Result<Result<T, Failed>, Abandoned> {
        if !self.lane.is_careful() {
            let _turn = self.shared.turn.read().await;
            return Ok(attempt.await);
        }
        // Nobody else is at work now: if the process dies, this is what it died of.
        let _turn = self.shared.turn.write().await;
        if let Some(failure) = self.note_attempt(delivery).await? {
            return Ok(Err(Failed::Condemned(failure)));
        }
        let outcome = attempt.await;
        self.note_survival(delivery).await;
        Ok(outcome)
    }

    /// After a try failed: charges whom it is to be charged to, and waits before the next try. Says
    /// whether the event is dealt with.
    pub(super) async fn failed(
        &mut self,
        work: &Work<'a, P::Tx>,
        failed: Failed,
        charged: &mut u32,
    ) -> Result<bool, Abandoned> {
        let (kind, reason, permanent) = match failed {
            Failed::Infrastructure(error) => {
                self.pause(error).await?;
                return Ok(false);
            }
            Failed::Unreadable(error) => {
                self.give_up(work.delivery, &self.unreadable(&error)).await?;
                return Ok(true);
            }
            Failed::Condemned(failure) => {
                self.give_up(work.delivery, &failure).await?;
                return Ok(true);
            }
            Failed::Event { kind, reason, permanent } => (kind, reason, permanent),
        };
        *charged += 1;
        let settings = &self.shared.settings;
        telemetry::handle_failed(settings.name.as_str(), kind);
        if permanent || settings.retry.is_exhausted(*charged) {
            let failure = self.failure(kind, reason, *charged);
            self.give_up(work.delivery, &failure).await?;
            return Ok(true);
        }
        if let Some(redelivery) = self.shared.source.redelivery() {
            let failure = self.failure(kind, reason, *charged);
            self.put_off(redelivery, work.delivery, &failure).await?;
            return Ok(true);
        }
        self.pause(Error::new(kind, "handle an event").detail(reason)).await?;
        Ok(false)
    }

    /// Has the broker deliver it again, later.
    async fn put_off(
        &mut self,
        redelivery: &dyn Redelivery,
        delivery: &Delivery,
        failure: &Failure,
    ) -> Result<(), Abandoned> {
        let chance = self.shared.settings.rng().f64();
        let delay = self.shared.settings.retry.delay(failure.attempts, chance);
        let error = Error::new(failure.kind, "handle an event").detail(failure.reason.clone());
        self.shared.report(&error, delay);
        while let Err(error) = redelivery.deliver_later(delivery, failure, delay).await {
            self.pause(error).await?;
        }
        Ok(())
    }

    /// Notes that an event is about to be tried; gives why not, if too many died of it.
    async fn note_attempt(&mut self, delivery: &Delivery) -> Result<Option<Failure>, Abandoned> {
        let settings = &self.shared.settings;
        let attempts = loop {
            let inbox = &self.shared.inbox;
            match inbox.attempted(&settings.name, &self.lane.partition, delivery.place).await {
                Ok(attempts) => break attempts,
                Err(error) => self.pause(error).await?,
            }
        };
        let died = attempts.saturating_sub(1);
        Ok(settings.retry.is_exhausted(died).then(|| {
            let reason = format!("the process died each of the {died} times it was handled alone");
            self.failure(ErrorKind::Crashed, reason, died)
        }))
    }

    /// Notes that the process did not die of an attempt, so that it is not held against the event when
    /// another one kills the process before this one is acknowledged.
    async fn note_survival(&self, delivery: &Delivery) {
        let (name, inbox) = (&self.shared.settings.name, &self.shared.inbox);
        if let Err(error) = inbox.survived(name, &self.lane.partition, delivery.place).await {
            debug!(error = error_chain(&error), "an attempt counts as one that was not survived");
        }
    }

    pub(super) fn count(&self, works: &[Work<'a, P::Tx>], marks: &[Mark], since: Instant) {
        let name = self.shared.settings.name.as_str();
        let new = works.iter().zip(marks).filter(|(_, mark)| **mark == Mark::First);
        let handled = telemetry::handled(name, new.map(|(work, _)| &work.entry.event_type));
        if handled > 0 {
            telemetry::transaction(name, handled, since.elapsed());
        }
        telemetry::duplicates(name, works.len() - handled);
    }

    pub(super) async fn done(
        &self,
        indexes: impl IntoIterator<Item = usize> + Send,
    ) -> Result<(), Abandoned> {
        self.lane.done(self.deliveries, self.progress, indexes).await
    }

    pub(super) async fn pause(&mut self, error: Error) -> Result<(), Abandoned> {
        self.patience.pause(self.shared, error, self.stop).await
    }

    /// Begins nothing any more once it was told to stop.
    pub(super) fn go_on(&self) -> Result<(), Abandoned> {
        if self.stop.soft.is_cancelled() { Err(Abandoned::Stopped) } else { Ok(()) }
    }

    fn unreadable(&self, error: &Error) -> Failure {
        self.failure(error.kind(), error_chain(error), 0)
    }

    pub(super) fn failure(&self, kind: ErrorKind, reason: String, attempts: u32) -> Failure {
        let reason = bounded_reason(reason);
        let settings = &self.shared.settings;
        Failure::new(settings.name.clone(), kind, reason, attempts, settings.clock.now())
    }
}

impl<Tx> Work<'_, Tx> {
    fn is_of_another_kind(&self, other: &Self) -> bool {
        mem::discriminant(&self.entry.handlers) != mem::discriminant(&other.entry.handlers)
    }
}

impl<Tx> Run<'_, Tx> {
    fn is_of_another_kind(&self, work: &Work<'_, Tx>) -> bool {
        self.works.first().is_some_and(|first| first.is_of_another_kind(work))
    }
}
