//! One holding of the lease: the pipeline from the store to the bus and back.
//!
//! Reading, publishing, settling and renewing go on side by side, each at most once except for
//! publishing. `advance` starts whatever may be started; the loop waits for the next thing to end.
//! After a failure nothing is read until everything under way has ended and what was acknowledged is
//! settled; then the store is read again from its lowest event.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, warn};

use super::{
    OnDeadLetter, Shared,
    builder::Settings,
    flight::{Batch, Failed, Landed, Load, Subject},
    framer::Page,
    slot::Slot,
    within,
};
use crate::{
    AggregateType, DeadLetterNotice, Error, ErrorKind, EventBus, EventId, EventRef, GivenUp, Lease,
    Origin, OutboxReader, OutboxRow, OutboxStats, OutboxStore, ReadRequest, Result, Retry, Settled,
    Settlement, error::bounded_reason, error_chain, retry::Backoff, telemetry,
};

/// How long the broker may answer for nothing before a person is told, again and again.
const STALLED: Duration = Duration::from_secs(10);

/// How long it waits between looks, at most, during the first seconds of silence.
const LULL: Duration = Duration::from_millis(16);
/// When those seconds are over, and how much slower than silence the wait grows from then on.
const LULL_OVER: Duration = Duration::from_millis(10_500);
const LULL_SHARE: u32 = 20;
/// How often what was published is settled, if there is not much of it.
const SETTLE_EVERY: Duration = Duration::from_millis(50);
/// How long counting what waits may take.
const STATS_LIMIT: Duration = Duration::from_secs(60);
/// Counting takes one part in so many of the time at most: it costs more the more there is.
const STATS_SHARE: u32 = 50;

/// How a term ended.
pub(super) enum Ended {
    /// After a shutdown, with nothing under way.
    Drained,
    /// Another holds the lease, or might.
    LeaseLost,
    /// A shutdown's deadline passed with something still under way.
    DrainTimeout,
    /// The store failed in a way that calls for a person.
    Failed(Error),
}

type Reader = Box<dyn OutboxReader>;

pub(super) struct Term<S, B> {
    shared: Arc<Shared<S, B>>,
    lease: Lease,
    /// Until when nobody else can hold the lease, on our monotonic clock.
    valid_until: Instant,

    /// At home unless a read is under way.
    reader: Option<Reader>,
    opening: Slot<Result<Reader>>,
    reading: Slot<Result<(Reader, Page)>>,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    in_flight: Load,
    settling: Slot<(Settlement, Result<Settled>, Instant)>,
    renewing: Slot<(Instant, Result<()>)>,
    recovering: Slot<Result<()>>,
    measuring: Slot<(Instant, Result<OutboxStats>)>,

    /// What became of events, to be settled next.
    pending: Settlement,
    /// Settled while the reader was away.
    forgettable: Vec<EventRef>,
    /// Whom to name when a dead letter is settled.
    subjects: HashMap<EventId, Subject>,

    restart: Option<Restart>,
    failures: Vec<Failed>,
    /// So many events go one by one, to find the one that is refused.
    alone: usize,
    /// Attempts charged to events that failed on their own account.
    charged: HashMap<EventId, u32>,
    /// Aggregate types whose topic is unavailable.
    held_back: HashMap<AggregateType, HeldBack>,

    /// When `advance` last looked.
    now: Instant,
    /// Until when nothing is tried with the bus or the reader, after a failure.
    resume_at: Instant,
    idle: Duration,
    last_event: Instant,
    next_read: Instant,
    /// Woken since the last read began: what that reads may be older.
    woken: bool,
    /// When the broker last answered for a batch, or had none to answer for.
    answered: Instant,
    /// Not before, after a failure.
    next_settle: Instant,
    last_settle: Instant,
    next_renewal: Instant,
    next_stats: Instant,
    backoff: Backoff,
    settle_backoff: Backoff,
    drain_until: Option<Instant>,
}

/// Why the store must be read from its lowest event again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restart {
    /// Something failed to publish: the bus is latched.
    BusFailed,
    /// The bus is usable, but what was read is not what is to be published next.
    Reread,
}

struct HeldBack {
    until: Instant,
    backoff: Backoff,
}

impl<S: OutboxStore, B: EventBus> Term<S, B> {
    /// `since` is when the request for the lease began.
    pub(super) fn begin(shared: Arc<Shared<S, B>>, lease: Lease, since: Instant) -> Self {
        let settings = &shared.settings;
        let backoff = || Backoff::new(settings.retry.clone(), settings.rng());
        let now = Instant::now();
        Self {
            lease,
            valid_until: since + settings.lease_ttl,
            reader: None,
            opening: Slot::idle(),
            reading: Slot::idle(),
            flights: FuturesUnordered::new(),
            in_flight: Load::default(),
            settling: Slot::idle(),
            renewing: Slot::idle(),
            recovering: Slot::idle(),
            measuring: Slot::idle(),
            pending: Settlement::default(),
            forgettable: Vec::new(),
            subjects: HashMap::new(),
            // There is no reader yet: a restart opens one.
            restart: Some(Restart::Reread),
            failures: Vec::new(),
            alone: 0,
            charged: HashMap::new(),
            held_back: HashMap::new(),
            now,
            resume_at: now,
            idle: settings.poll.0,
            last_event: now,
            next_read: now,
            woken: false,
            answered: now,
            next_settle: now,
            last_settle: now,
            next_renewal: now + settings.lease_ttl / 3,
            next_stats: now,
            backoff: backoff(),
            settle_backoff: backoff(),
            drain_until: None,
            shared,
        }
    }

    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> Ended {
        let wake_up = self.shared.wake_up.clone();
        loop {
            // A store that is always ready must not keep the thread from everyone else.
            tokio::task::coop::consume_budget().await;
            if let Some(ended) = self.advance() {
                return ended;
            }
            let next = self.next_deadline();
            // In this order, so that a simulation replays: what ends or keeps the term comes first.
            let outcome = tokio::select! {
                biased;
                () = shutdown.cancelled(), if self.drain_until.is_none() => {
                    self.drain_until = Some(Instant::now() + self.shared.settings.drain_timeout);
                    Ok(())
                }
                (since, result) = self.renewing.done() => self.renewed(since, result),
                (settlement, result, since) = self.settling.done() => self.settled(settlement, result, since),
                Some(landed) = self.flights.next() => { self.landed(landed); Ok(()) }
                read = self.reading.done() => self.read(read),
                result = self.opening.done() => self.opened(result),
                result = self.recovering.done() => { self.recovered(result); Ok(()) }
                (since, stats) = self.measuring.done() => { self.measured(since, stats); Ok(()) }
                () = wake_up.0.notified() => { self.woken = true; Ok(()) }
                () = sleep_until(next) => Ok(()),
            };
            if let Err(ended) = outcome {
                return ended;
            }
        }
    }

    /// Starts all that may be started; says when the term is over.
    fn advance(&mut self) -> Option<Ended> {
        let now = Instant::now();
        self.now = now;
        if now >= self.valid_until {
            return Some(Ended::LeaseLost);
        }
        if let Some(until) = self.drain_until {
            if self.flights.is_empty() && self.all_settled() {
                return Some(Ended::Drained);
            }
            if now >= until {
                return Some(Ended::DrainTimeout);
            }
        }
        if self.renewing.is_idle() && now >= self.next_renewal {
            let (shared, lease) = (Arc::clone(&self.shared), self.lease.clone());
            self.renewing.start(async move {
                let since = Instant::now();
                let ttl = shared.settings.lease_ttl;
                (since, within(ttl, "renew the lease", shared.store.renew(&lease, ttl)).await)
            });
        }
        if self.settling.is_idle() && self.settle_due().is_some_and(|due| now >= due) {
            let settlement = std::mem::take(&mut self.pending);
            self.last_settle = now;
            let (shared, lease) = (Arc::clone(&self.shared), self.lease.clone());
            self.settling.start(async move {
                let since = Instant::now();
                let settle = shared.store.settle(&lease, &settlement);
                let result = within(shared.settings.lease_ttl, "settle events", settle).await;
                (settlement, result, since)
            });
        }
        self.advance_restart(now);
        self.notice_stall(now);
        if self.measuring.is_idle() && now >= self.next_stats {
            let shared = Arc::clone(&self.shared);
            self.measuring.start(async move {
                let since = Instant::now();
                (since, within(STATS_LIMIT, "measure the outbox", shared.store.stats()).await)
            });
        }
        self.start_reading(now);
        None
    }

    /// Reads on, if there is room and it is time. In a task of its own: what was read last is handed
    /// over meanwhile, and that is work.
    fn start_reading(&mut self, now: Instant) {
        if !self.may_read() || !(self.woken || now >= self.next_read) {
            return;
        }
        let Some(mut reader) = self.reader.take() else { return };
        self.woken = false;
        let request = self.read_request(now);
        let ttl = self.shared.settings.lease_ttl;
        reader.forget(&std::mem::take(&mut self.forgettable));
        let shared = Arc::clone(&self.shared);
        let reading = tokio::spawn(async move {
            // A reader whose read was broken off is not used again.
            let rows = within(ttl, "read the outbox", reader.read(&request)).await?;
            let Settings { framer, topics, .. } = &shared.settings;
            let framing = async { Ok(framer.frame(rows, topics).await) };
            Ok((reader, within(ttl, "frame events", framing).await?))
        });
        let reading = AbortOnDropHandle::new(reading);
        self.reading.start(async move {
            reading.await.unwrap_or_else(|failure| {
                Err(Error::new(ErrorKind::Other, "read the outbox").caused_by(failure))
            })
        });
    }

    /// A client that waits for its broker says nothing by itself, and nothing fails.
    fn notice_stall(&mut self, now: Instant) {
        if self.flights.is_empty() || now < self.answered + STALLED {
            return;
        }
        self.answered = now;
        telemetry::publish_failed(&self.shared.settings.name, ErrorKind::Unavailable);
        let error = Error::new(ErrorKind::Unavailable, "publish").detail(format!(
            "the broker has answered for nothing in {STALLED:?}, {} batches wait",
            self.flights.len()
        ));
        self.shared.report(&error, STALLED);
    }

    /// Step by step: everything lands, the bus is made usable, what was acknowledged is settled,
    /// the reader starts over.
    fn advance_restart(&mut self, now: Instant) {
        let Some(restart) = self.restart else { return };
        if !self.flights.is_empty() || !self.recovering.is_idle() || now < self.resume_at {
            return;
        }
        if restart == Restart::BusFailed {
            self.judge(now);
            let shared = Arc::clone(&self.shared);
            self.recovering.start(async move { shared.bus.recover().await });
            return;
        }
        if !self.all_settled() || !self.reading.is_idle() || !self.opening.is_idle() {
            return;
        }
        if let Some(reader) = &mut self.reader {
            self.forgettable.clear();
            reader.rewind();
            self.restart = None;
        } else {
            let shared = Arc::clone(&self.shared);
            self.opening.start(async move {
                within(shared.settings.lease_ttl, "open the outbox", shared.store.reader()).await
            });
        }
    }

    /// Whether there is nothing to wait for but the next poll.
    fn may_read(&self) -> bool {
        let settings = &self.shared.settings;
        self.restart.is_none()
            && self.drain_until.is_none()
            && self.has_room(0)
            && self.pending.len() < settings.max_in_flight * settings.batch
            && (self.alone == 0 || (self.flights.is_empty() && self.all_settled()))
    }

    /// When what is pending is to be settled. It costs a commit, however many they are, so a moment's
    /// are settled together; nobody waits for them, unless something is to start over or to end.
    fn settle_due(&self) -> Option<Instant> {
        if self.pending.is_empty() {
            return None;
        }
        let settings = &self.shared.settings;
        let is_urgent = self.restart.is_some()
            || self.drain_until.is_some()
            || self.alone > 0
            || self.pending.published.len() < self.pending.len()
            || self.pending.len() >= 4 * settings.batch
            // The end of a burst: nothing more will join these soon.
            || (self.flights.is_empty()
                && self.reading.is_idle()
                && self.pending.len() >= (settings.batch / 4).max(1));
        Some(if is_urgent {
            self.next_settle
        } else {
            self.next_settle.max(self.last_settle + SETTLE_EVERY)
        })
    }

    /// Whether another batch may be on its way, besides so many events. What counts is events and bytes: at
    /// a moderate rate there are many batches of few events.
    fn has_room(&self, besides: usize) -> bool {
        let settings = &self.shared.settings;
        let others = settings.max_in_flight - 1;
        self.in_flight.events + besides <= others * settings.batch
            && self.in_flight.bytes <= others.saturating_mul(settings.batch_bytes)
    }

    fn read_request(&mut self, now: Instant) -> ReadRequest {
        let settings = &self.shared.settings;
        let mut request = ReadRequest::new(if self.alone > 0 { 1 } else { settings.batch });
        request.max_bytes = settings.batch_bytes;
        request.held_back = self
            .held_back
            .iter()
            .filter(|(_, held)| now < held.until)
            .map(|(aggregate_type, _)| aggregate_type.clone())
            .collect();
        request
    }

    fn read(&mut self, read: Result<(Reader, Page)>) -> Result<(), Ended> {
        let (mut reader, Page { mut rows, held }) = match read {
            Ok(read) => read,
            Err(error) => return self.reader_failed(error),
        };
        let overlooked = reader.overlooked();
        if overlooked > 0 {
            let settings = &self.shared.settings;
            telemetry::overlooked(&settings.name, overlooked);
            warn!(
                relay = %settings.id,
                events = overlooked,
                "events came late: their numbers are out of the order of the sequence"
            );
        }
        self.reader = Some(reader);
        if self.restart.is_some() || self.drain_until.is_some() {
            // Something happened meanwhile; the reader starts over, or nobody reads on.
            return Ok(());
        }
        let now = Instant::now();
        if now >= self.valid_until {
            return Err(Ended::LeaseLost);
        }
        let (min, max) = self.shared.settings.poll;
        let redriven = take_redriven(&mut rows);
        let full = !redriven && rows.len() >= self.shared.settings.batch;
        // Where something came, more has come by now; a pause is for when nothing did.
        self.next_read = if rows.is_empty() { now + self.idle } else { now };
        self.idle = if rows.is_empty() {
            // The longer nothing has come, the longer it may take until it is noticed that something did.
            let silence = now.saturating_duration_since(self.last_event);
            let lull = LULL + silence.saturating_sub(LULL_OVER) / LULL_SHARE;
            let lull = lull.clamp(min, max);
            (self.idle * 2).min(lull)
        } else {
            self.last_event = now;
            min
        };
        if rows.is_empty() {
            self.alone = 0;
        }
        if full && self.alone == 0 && self.has_room(rows.len()) {
            self.start_reading(now);
        }
        self.hand_over(rows);
        if let Some((aggregate_type, error)) = &held {
            self.hold_back(aggregate_type, error, now);
        }
        if redriven || held.is_some() {
            self.restart.get_or_insert(Restart::Reread);
        }
        Ok(())
    }

    fn opened(&mut self, reader: Result<Reader>) -> Result<(), Ended> {
        match reader {
            Ok(reader) => {
                self.reader = Some(reader);
                Ok(())
            }
            Err(error) => self.reader_failed(error),
        }
    }

    /// A new reader is opened after a while: its checks are made again on every reconnect.
    fn reader_failed(&mut self, error: Error) -> Result<(), Ended> {
        if error.is_final() {
            return Err(Ended::Failed(error));
        }
        self.back_off(&error);
        self.restart.get_or_insert(Restart::Reread);
        Ok(())
    }

    fn back_off(&mut self, error: &Error) {
        let wait = self.backoff.fail();
        self.resume_at = Instant::now() + wait;
        self.shared.report(error, wait);
    }

    fn hand_over(&mut self, rows: Vec<OutboxRow>) {
        let shared = Arc::clone(&self.shared);
        let park = shared.settings.on_dead_letter == OnDeadLetter::Park;
        let mut batch = Batch::default();
        for row in rows {
            match row.envelope {
                _ if row.parked && park => self.pending.parked.push(row.event),
                Ok(envelope) => batch.push(row.event, envelope, &shared.settings.topics),
                Err(error) => {
                    self.give_up(row.event, &error, 0, None);
                    // What was read behind it doesn't know yet that it waits.
                    self.restart = Some(Restart::Reread);
                    break;
                }
            }
        }
        if !batch.is_empty() {
            if self.flights.is_empty() {
                self.answered = self.now;
            }
            self.in_flight += batch.load();
            let landed = batch.hand_over(&shared.bus, &shared.settings.name);
            self.flights.push(Box::pin(landed));
        }
    }

    fn landed(&mut self, landed: Landed) {
        self.in_flight -= landed.load;
        self.answered = Instant::now();
        let name = &self.shared.settings.name;
        if !landed.acknowledged.is_empty() {
            telemetry::published(name, landed.acknowledged.len(), landed.since.elapsed());
            for published in &landed.acknowledged {
                self.charged.remove(&published.event.event_id);
            }
        }
        self.pending.published.extend(landed.acknowledged);
        for aggregate_type in landed.types {
            self.held_back.remove(&aggregate_type);
        }
        if landed.failed.is_empty() {
            self.alone = self.alone.saturating_sub(1);
            if self.restart.is_none() {
                self.backoff.succeed();
            }
            return;
        }
        self.restart = Some(Restart::BusFailed);
        self.failures.extend(landed.failed);
    }

    /// Decides, once everything has landed, whose fault it was.
    fn judge(&mut self, now: Instant) {
        self.failures
            .sort_by_key(|failed| (failed.event.origin == Origin::Outbox, failed.event.position));
        let failures = std::mem::take(&mut self.failures);
        let was_alone = failures.len() == 1 && failures[0].subject.is_some();
        let culprits = failures.iter().filter(|failed| failed.error.kind() != ErrorKind::Halted);
        let Some(first) = culprits.clone().next().or(failures.first()) else { return };
        telemetry::publish_failed(&self.shared.settings.name, first.error.kind());
        match first.error.kind() {
            ErrorKind::Rejected | ErrorKind::TooLarge if was_alone => self.judge_alone(first),
            ErrorKind::Rejected | ErrorKind::TooLarge => {
                debug!(
                    events = failures.len(),
                    "a record was refused; going one by one to find which"
                );
                self.alone = failures.len();
            }
            // What nobody can place is the topic's or the aggregate type's: it must not stop the rest.
            kind if is_of_topic(kind) => {
                for failed in culprits.filter(|failed| is_of_topic(failed.error.kind())) {
                    self.hold_back(&failed.aggregate_type, &failed.error, now);
                }
            }
            _ => self.back_off(&first.error),
        }
    }

    /// An event that was refused with no other beside it.
    fn judge_alone(&mut self, failed: &Failed) {
        let attempts = self.charged.entry(failed.event.event_id).or_default();
        *attempts += 1;
        let attempts = *attempts;
        let retry = &self.shared.settings.retry;
        if failed.error.retry() == Retry::Never || retry.is_exhausted(attempts) {
            self.charged.remove(&failed.event.event_id);
            self.alone = self.alone.saturating_sub(1);
            self.give_up(failed.event, &failed.error, attempts, failed.subject.clone());
        } else {
            self.back_off(&failed.error);
        }
    }

    fn hold_back(&mut self, aggregate_type: &AggregateType, error: &Error, now: Instant) {
        let settings = &self.shared.settings;
        let held = self.held_back.entry(aggregate_type.clone()).or_insert_with(|| HeldBack {
            until: now,
            backoff: Backoff::new(settings.retry.clone(), settings.rng()),
        });
        if held.until <= now {
            let wait = held.backoff.fail();
            held.until = now + wait;
            self.shared.report(error, wait);
        }
    }

    fn give_up(&mut self, event: EventRef, error: &Error, attempts: u32, subject: Option<Subject>) {
        let reason = bounded_reason(error_chain(error));
        self.pending.dead.push(GivenUp::new(event, error.kind(), reason, attempts));
        if let Some(subject) = subject {
            self.subjects.insert(event.event_id, subject);
        }
    }

    fn settled(
        &mut self,
        settlement: Settlement,
        result: Result<Settled>,
        since: Instant,
    ) -> Result<(), Ended> {
        let name = &self.shared.settings.name;
        match result {
            Ok(settled) => {
                self.settle_backoff.succeed();
                let given = settlement.len() as u64;
                let missing =
                    given.saturating_sub(settled.published + settled.parked + settled.dead);
                if missing > 0 {
                    warn!(relay = %self.shared.settings.id, missing, given, "events were settled already");
                }
                telemetry::settled(name, missing, since.elapsed());
                self.announce(&settlement.dead);
                match &mut self.reader {
                    Some(reader) => reader.forget(&settlement.events().collect::<Vec<_>>()),
                    None => self.forgettable.extend(settlement.events()),
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::LeaseLost => Err(Ended::LeaseLost),
            Err(error) if error.is_final() => Err(Ended::Failed(error)),
            Err(error) => {
                let wait = self.settle_backoff.fail();
                self.next_settle = Instant::now() + wait;
                self.shared.report(&error, wait);
                let newer = std::mem::replace(&mut self.pending, settlement);
                self.pending.append(newer);
                Ok(())
            }
        }
    }

    fn announce(&mut self, dead: &[GivenUp]) {
        let settings = &self.shared.settings;
        for given_up in dead {
            let subject = self.subjects.remove(&given_up.event.event_id);
            telemetry::dead_lettered(&settings.name);
            tracing::error!(
                relay = %settings.id,
                event_id = %given_up.event.event_id,
                reason = given_up.reason,
                "event given up on; redrive or discard it"
            );
            settings.hooks.dead_letter(&DeadLetterNotice {
                component: &settings.name,
                event_id: Some(given_up.event.event_id),
                event_type: subject.as_ref().map(|subject| &subject.event_type),
                aggregate: subject
                    .as_ref()
                    .map(|subject| (&subject.aggregate_type, &subject.aggregate_id)),
                kind: given_up.kind,
                reason: &given_up.reason,
                attempts: given_up.attempts,
            });
        }
    }

    fn renewed(&mut self, since: Instant, result: Result<()>) -> Result<(), Ended> {
        let ttl = self.shared.settings.lease_ttl;
        match result {
            Ok(()) => {
                self.valid_until = since + ttl;
                self.next_renewal = since + ttl / 3;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::LeaseLost => Err(Ended::LeaseLost),
            Err(error) => {
                let wait = ttl / 10;
                self.next_renewal = Instant::now() + wait;
                self.shared.report(&error, wait);
                Ok(())
            }
        }
    }

    fn recovered(&mut self, result: Result<()>) {
        match result {
            Ok(()) => self.restart = Some(Restart::Reread),
            Err(error) => self.back_off(&error),
        }
    }

    fn measured(&mut self, since: Instant, stats: Result<OutboxStats>) {
        let pause = self.shared.settings.stats_interval.max(since.elapsed() * STATS_SHARE);
        self.next_stats = Instant::now() + pause;
        match stats {
            Ok(stats) => telemetry::outbox(&self.shared.settings.name, &stats),
            Err(error) => debug!(error = error_chain(&error), "the backlog could not be measured"),
        }
    }

    fn all_settled(&self) -> bool {
        self.pending.is_empty() && self.settling.is_idle()
    }

    /// When something is due. What was due at `now` and was not started waits for something else to
    /// end, which wakes the loop by itself.
    fn next_deadline(&self) -> Instant {
        let due = [
            Some(self.valid_until),
            Some(self.next_stats),
            Some(self.next_renewal),
            self.settle_due(),
            Some(self.resume_at),
            self.may_read().then_some(self.next_read),
            (!self.flights.is_empty()).then(|| self.answered + STALLED),
            self.drain_until,
        ];
        due.into_iter().flatten().filter(|due| *due > self.now).min().unwrap_or(self.valid_until)
    }
}

/// Leaves redriven events alone with each other, if there are any; says whether there are.
///
/// They are published and settled before anything is read again. Were the later events of their
/// aggregates taken meanwhile, each would be parked behind the one before it, and an aggregate that
/// somebody goes on writing to would never get out of its park.
fn take_redriven(rows: &mut Vec<OutboxRow>) -> bool {
    let is_redriven = |row: &OutboxRow| row.event.origin == Origin::DeadLetter;
    let any = rows.iter().any(is_redriven);
    if any {
        rows.retain(is_redriven);
    }
    any
}

/// Whether it holds back the aggregate type. What nobody can place does so, too: it must not stop the
/// rest.
fn is_of_topic(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TopicUnavailable | ErrorKind::Other | ErrorKind::Invalid)
}
