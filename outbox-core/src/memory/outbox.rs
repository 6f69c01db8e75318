//! The relay's side of the in-memory database.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::{
    MemoryStore,
    store::{Dead, Shared, State, Taken},
};
use crate::{
    Acquired, AggregateId, AggregateType, DeadLetter, DeadLetterQuery, DeadLetterState,
    DeadLetterStore, Envelope, Error, ErrorKind, EventRef, Lease, Origin, OutboxReader, OutboxRow,
    OutboxStats, OutboxStore, ReadRequest, RelayId, Result, Settled, Settlement, Successors,
};

#[async_trait]
impl OutboxStore for MemoryStore {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        self.shared.faults.step("acquire the lease", || {
            let mut state = self.shared.lock();
            let now = Instant::now();
            if let Some((holder, until)) = &state.lease.holder
                && *until > now
            {
                let (holder, expires_in) = (holder.clone(), *until - now);
                return Ok(Acquired::Elsewhere { holder, expires_in });
            }
            state.lease.epoch += 1;
            state.lease.holder = Some((relay.clone(), now + ttl));
            Ok(Acquired::Held(Lease::new(relay.clone(), state.lease.epoch)))
        })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.shared.faults.step("renew the lease", || {
            let mut state = self.shared.lock();
            state.check(lease, "renew the lease")?;
            state.lease.holder = Some((lease.relay.clone(), Instant::now() + ttl));
            Ok(())
        })
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.shared.faults.step("release the lease", || {
            let mut state = self.shared.lock();
            state.check(lease, "release the lease")?;
            state.lease.holder = None;
            Ok(())
        })
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(MemoryReader { shared, in_flight: HashMap::new() }))
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        self.shared.faults.step("settle events", || {
            let mut state = self.shared.lock();
            state.check(lease, "settle events")?;
            let mut settled = Settled::default();
            for published in &settlement.published {
                if let Some(taken) = state.take(&published.event) {
                    state.archive(published, taken);
                    settled.published += 1;
                }
            }
            for event in &settlement.parked {
                if let Some(taken) = state.take(event) {
                    state.dead.insert(event.position, Dead::parked(taken));
                    settled.parked += 1;
                }
            }
            for dead in &settlement.dead {
                let before = state.dead.get(&dead.event.position).map_or(0, |row| row.attempts);
                if let Some(taken) = state.take(&dead.event) {
                    let mut row = Dead::parked(taken);
                    row.state = DeadLetterState::Dead;
                    row.kind = Some(dead.kind);
                    row.reason = Some(dead.reason.clone());
                    row.attempts = before + dead.attempts;
                    state.dead.insert(dead.event.position, row);
                    settled.dead += 1;
                }
            }
            Ok(settled)
        })
    }

    async fn stats(&self) -> Result<OutboxStats> {
        let state = self.shared.lock();
        let now = Instant::now();
        let dead = state.dead.values().filter(|row| row.state != DeadLetterState::Parked).count();
        Ok(OutboxStats {
            backlog: state.events.len() as u64,
            oldest_age: state.events.values().map(|row| row.since).min().map(|since| now - since),
            dead_letters: dead as u64,
            parked: (state.dead.len() - dead) as u64,
            redriving: state.dead.iter().filter(|(at, row)| state.is_redriven(**at, row)).count()
                as u64,
            holder: state
                .lease
                .holder
                .clone()
                .filter(|(_, until)| *until > now)
                .map(|(holder, until)| (holder, Utc::now() + (until - now))),
        })
    }
}

#[async_trait]
impl DeadLetterStore for MemoryStore {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        let state = self.shared.lock();
        Ok(state
            .matching(query, |_, _, _| true)
            .into_iter()
            .map(|position| {
                let row = &state.dead[&position];
                let envelope = row.envelope.clone();
                let mut letter = DeadLetter::new(
                    position,
                    envelope.event_id,
                    row.state,
                    row.failed_at,
                    Ok(envelope),
                );
                letter.reason.clone_from(&row.reason);
                letter.attempts = row.attempts;
                letter
            })
            .collect())
    }

    async fn redrive(&self, query: &DeadLetterQuery) -> Result<u64> {
        self.shared.faults.step("redrive dead letters", || {
            let mut state = self.shared.lock();
            let mut flagged = 0;
            // Only what a flag would help, so that a limit doesn't stop at what is flagged already.
            for chosen in state.matching(query, |state, at, row| !state.is_redriven(at, row)) {
                let envelope = state.dead[&chosen].envelope.clone();
                for (_, row) in state.dead.range_mut(..=chosen) {
                    if row.aggregate() == aggregate(&envelope) && row.state == DeadLetterState::Dead
                    {
                        row.state = DeadLetterState::Redriving;
                        flagged += 1;
                    }
                }
            }
            Ok(flagged)
        })
    }

    async fn discard(&self, query: &DeadLetterQuery, successors: Successors) -> Result<u64> {
        self.shared.faults.step("discard dead letters", || {
            let mut state = self.shared.lock();
            let before = state.dead.len();
            for chosen in state.matching(query, |_, _, _| true) {
                let Some(head) = state.dead.remove(&chosen) else { continue };
                if successors == Successors::Release || head.state == DeadLetterState::Parked {
                    continue;
                }
                // What is parked behind it, up to the next one that was given up on.
                let behind: Vec<_> = state
                    .dead
                    .range(chosen..)
                    .filter(|(_, later)| later.aggregate() == head.aggregate())
                    .take_while(|(_, later)| later.state == DeadLetterState::Parked)
                    .map(|(position, _)| *position)
                    .collect();
                for position in behind {
                    state.dead.remove(&position);
                }
            }
            Ok((before - state.dead.len()) as u64)
        })
    }
}

struct MemoryReader {
    shared: Arc<Shared>,
    /// Whatever was given and is not settled, with its aggregate where it is to be parked.
    in_flight: HashMap<i64, Option<(AggregateType, AggregateId)>>,
}

#[async_trait]
impl OutboxReader for MemoryReader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        let faults = self.shared.faults.clone();
        faults.step("read the outbox", || {
            let shared = Arc::clone(&self.shared);
            let state = shared.lock();
            let redriven = state
                .dead
                .iter()
                .filter(|(position, row)| state.is_redriven(**position, row))
                .map(|(position, row)| (*position, Origin::DeadLetter, false, &row.envelope));
            // An event that waits to be parked parks its successors, too, or they would pass it.
            let parking: HashSet<_> = self.in_flight.values().flatten().cloned().collect();
            let waiting = state.events.iter().map(|(position, row)| {
                let parked =
                    state.dead.values().any(|dead| dead.aggregate() == aggregate(&row.envelope))
                        || parking.contains(&owned(aggregate(&row.envelope)));
                (*position, Origin::Outbox, parked, &row.envelope)
            });
            let mut rows = Vec::new();
            let mut bytes = 0;
            for (position, origin, parked, envelope) in redriven.chain(waiting) {
                if rows.len() == request.limit || bytes >= request.max_bytes {
                    break;
                }
                if request.held_back.contains(&envelope.aggregate_type)
                    || self.in_flight.contains_key(&position)
                {
                    continue;
                }
                self.in_flight.insert(position, parked.then(|| owned(aggregate(envelope))));
                bytes += envelope.payload.len();
                let event = EventRef::new(position, envelope.event_id, origin);
                rows.push(OutboxRow::new(event, parked, Ok(envelope.clone())));
            }
            Ok(rows)
        })
    }

    fn forget(&mut self, settled: &[EventRef]) {
        for event in settled {
            self.in_flight.remove(&event.position);
        }
    }

    fn rewind(&mut self) {
        self.in_flight.clear();
    }
}

impl State {
    fn check(&self, lease: &Lease, operation: &'static str) -> Result<()> {
        let holds = self.lease.epoch == lease.epoch
            && self.lease.holder.as_ref().is_some_and(|(holder, _)| *holder == lease.relay);
        if holds { Ok(()) } else { Err(Error::new(ErrorKind::LeaseLost, operation)) }
    }

    fn take(&mut self, event: &EventRef) -> Option<Taken> {
        let is_it = |envelope: &Envelope| envelope.event_id == event.event_id;
        match event.origin {
            Origin::Outbox => {
                self.events.get(&event.position).filter(|row| is_it(&row.envelope))?;
                let row = self.events.remove(&event.position)?;
                Some(Taken { envelope: row.envelope, since: row.since })
            }
            Origin::DeadLetter => {
                self.dead.get(&event.position).filter(|row| is_it(&row.envelope))?;
                let row = self.dead.remove(&event.position)?;
                Some(Taken { envelope: row.envelope, since: row.since })
            }
        }
    }

    /// Whether nothing given up on, and not flagged, is before it in its aggregate.
    fn is_redriven(&self, position: i64, row: &Dead) -> bool {
        self.dead.range(..=position).all(|(_, earlier)| {
            earlier.state != DeadLetterState::Dead || earlier.aggregate() != row.aggregate()
        })
    }

    fn matching(
        &self,
        query: &DeadLetterQuery,
        also: impl Fn(&Self, i64, &Dead) -> bool,
    ) -> Vec<i64> {
        // Nothing failed before time began.
        let oldest = query.older_than.map(|age| {
            let age = TimeDelta::from_std(age).ok();
            age.and_then(|age| Utc::now().checked_sub_signed(age))
                .unwrap_or(DateTime::<Utc>::MIN_UTC)
        });
        let mut matching: Vec<_> = self
            .dead
            .iter()
            .filter(|(position, row)| {
                let envelope = &row.envelope;
                also(self, **position, row)
                    && (query.event_ids.is_empty() || query.event_ids.contains(&envelope.event_id))
                    && query
                        .aggregate_type
                        .as_ref()
                        .is_none_or(|known| *known == envelope.aggregate_type)
                    && query
                        .aggregate_id
                        .as_ref()
                        .is_none_or(|known| *known == envelope.aggregate_id)
                    && oldest.is_none_or(|oldest| row.failed_at <= oldest)
            })
            .collect();
        matching.sort_by_key(|(position, row)| (row.aggregate(), **position));
        let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
        matching.into_iter().map(|(position, _)| *position).take(limit).collect()
    }
}

type AggregateKey<'a> = (&'a AggregateType, &'a AggregateId);

fn aggregate(envelope: &Envelope) -> AggregateKey<'_> {
    (&envelope.aggregate_type, &envelope.aggregate_id)
}

fn owned((aggregate_type, aggregate_id): AggregateKey<'_>) -> (AggregateType, AggregateId) {
    (aggregate_type.clone(), aggregate_id.clone())
}

impl Dead {
    fn parked(taken: Taken) -> Self {
        Self {
            envelope: taken.envelope,
            since: taken.since,
            state: DeadLetterState::Parked,
            kind: None,
            reason: None,
            attempts: 0,
            failed_at: Utc::now(),
        }
    }

    fn aggregate(&self) -> AggregateKey<'_> {
        aggregate(&self.envelope)
    }
}
