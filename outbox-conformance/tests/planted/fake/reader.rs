//! The reader: a position and gaps as hints, the table as the state.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use relaybox_conformance::async_trait;
use relaybox_core::{EventRef, Origin, OutboxReader, OutboxRow, ReadRequest, Result};

use super::database::{Aggregate, Shared, State, aggregate, decoded};
use crate::bug::Bug;

/// How often it reads without hints.
const UNHINTED: Duration = Duration::from_secs(5);

pub(super) struct FakeReader {
    shared: Arc<Shared>,
    /// Up to where it has read.
    pos: i64,
    gaps: Vec<Gap>,
    /// Read past because their type was held back.
    held: BTreeSet<i64>,
    /// Whatever was given and is not settled, with its aggregate where it is to be parked.
    in_flight: HashMap<(Origin, i64), Option<Aggregate>>,
    next_unhinted: Instant,
    /// What only a read without hints has found, since somebody asked.
    overlooked: u64,
    /// With the bug: what it knows as parked by itself.
    own_parked: HashSet<Aggregate>,
}

/// Positions that were missing, and who may still fill them.
struct Gap {
    from: i64,
    to: i64,
    holders: BTreeSet<u64>,
}

impl FakeReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pos: i64::MIN,
            gaps: Vec::new(),
            held: BTreeSet::new(),
            in_flight: HashMap::new(),
            next_unhinted: Instant::now(),
            overlooked: 0,
            own_parked: HashSet::new(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.shared.has(bug)
    }

    fn redriven(&mut self, state: &State, request: &ReadRequest, page: &mut Page) {
        for (seq, letter) in &state.dead {
            let key = (Origin::DeadLetter, *seq);
            if !state.is_free(*seq)
                || self.in_flight.contains_key(&key)
                || request.held_back.contains(&letter.envelope.aggregate_type)
            {
                continue;
            }
            if page.is_full(request) {
                return;
            }
            self.in_flight.insert(key, None);
            let event = EventRef::new(*seq, letter.envelope.event_id, key.0);
            let bytes = letter.envelope.payload.len();
            let envelope = decoded(&letter.envelope, letter.spoilt);
            page.push(OutboxRow::new(event, false, envelope), bytes);
        }
    }

    /// Committed rows that a statement with these conditions gives, in its order.
    fn select(&self, state: &State, condition: impl Fn(i64) -> bool) -> Vec<i64> {
        let dirty = self.has(Bug::RollbackVisible);
        let mut rows: Vec<_> = state
            .rows
            .iter()
            .filter(|(seq, row)| condition(**seq) && (dirty || !state.open.contains(&row.tx)))
            .map(|(seq, row)| (if self.has(Bug::OrderByTransaction) { row.tx } else { 0 }, *seq))
            .collect();
        rows.sort_unstable();
        rows.into_iter().map(|(_, seq)| seq).collect()
    }

    fn is_gap(&self, seq: i64) -> bool {
        self.held.contains(&seq) || self.gaps.iter().any(|gap| gap.from <= seq && seq <= gap.to)
    }

    /// Gives rows as far as the page goes; says how far it covered.
    fn outbox(
        &mut self,
        state: &State,
        seqs: &[i64],
        request: &ReadRequest,
        page: &mut Page,
    ) -> Option<i64> {
        let mut covered = None;
        for seq in seqs {
            if page.is_full(request) {
                return covered;
            }
            let Some(row) = state.rows.get(seq) else { continue };
            covered = Some(covered.map_or(*seq, |covered: i64| covered.max(*seq)));
            if self.in_flight.contains_key(&(Origin::Outbox, *seq)) {
                continue;
            }
            if request.held_back.contains(&row.envelope.aggregate_type) {
                self.held.insert(*seq);
                if self.has(Bug::HeldBackTakesThePage) {
                    page.bytes = page.bytes.saturating_add(1);
                    page.taken += 1;
                }
                continue;
            }
            let of = aggregate(&row.envelope);
            let parked = if self.has(Bug::ParkForgottenOnTakeover) {
                self.own_parked.contains(&of)
            } else if self.has(Bug::UnparkedByTheFlag) {
                state.dead.iter().any(|(dead, letter)| {
                    aggregate(&letter.envelope) == of && !state.is_free(*dead)
                })
            } else {
                state.has_letters(&of) || self.in_flight.values().flatten().any(|on| *on == of)
            };
            self.overlooked += u64::from(*seq < self.pos && !self.is_gap(*seq));
            self.held.remove(seq);
            self.in_flight.insert((Origin::Outbox, *seq), parked.then_some(of));
            let event = EventRef::new(*seq, row.envelope.event_id, Origin::Outbox);
            let bytes = row.envelope.payload.len();
            page.push(OutboxRow::new(event, parked, decoded(&row.envelope, row.spoilt)), bytes);
        }
        if !page.is_full(request) {
            // All there is.
            covered = seqs.last().copied().max(covered).max(Some(self.pos.saturating_sub(1)));
        }
        covered
    }

    /// Brings the hints up to date: `seen` are the rows that the statement saw, `open` are the
    /// transactions that can still fill a gap, `full` says that there may be more.
    fn take_note(&mut self, seen: &[i64], covered: i64, open: &BTreeSet<u64>, full: bool) {
        let forgets = full && self.has(Bug::GapForgottenOnFullPage);
        let seen: BTreeSet<_> = seen.iter().copied().filter(|seq| *seq <= covered).collect();
        // Whose holders are all gone is a rollback, as far as this read has covered it.
        self.gaps.retain(|gap| gap.to > covered || !(forgets || gap.holders.is_disjoint(open)));
        let mut gaps = std::mem::take(&mut self.gaps);
        let mut from = self.pos;
        for seq in seen.range(from..).copied().chain([covered.saturating_add(1)]) {
            if seq > from && from <= covered && !forgets {
                gaps.push(Gap { from, to: seq - 1, holders: open.clone() });
            }
            from = seq.saturating_add(1);
        }
        self.gaps = gaps.into_iter().flat_map(|gap| split(gap, &seen)).collect();
        self.pos = self.pos.max(covered.saturating_add(1));
    }
}

/// What is left of a gap without the rows that were seen.
fn split(gap: Gap, seen: &BTreeSet<i64>) -> Vec<Gap> {
    let mut left = Vec::new();
    let mut from = gap.from;
    for seq in seen.range(gap.from..=gap.to) {
        if *seq > from {
            left.push(Gap { from, to: seq - 1, holders: gap.holders.clone() });
        }
        from = seq + 1;
    }
    if from <= gap.to {
        left.push(Gap { from, ..gap });
    }
    left
}

#[derive(Default)]
struct Page {
    rows: Vec<OutboxRow>,
    taken: usize,
    bytes: usize,
}

impl Page {
    fn is_full(&self, request: &ReadRequest) -> bool {
        self.taken >= request.limit || self.bytes >= request.max_bytes
    }

    fn push(&mut self, row: OutboxRow, bytes: usize) {
        self.rows.push(row);
        self.taken += 1;
        self.bytes += bytes;
    }
}

#[async_trait]
impl OutboxReader for FakeReader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        if self.has(Bug::InFlightGivenAgain) {
            self.in_flight.clear();
        }
        let shared = Arc::clone(&self.shared);
        let hints_only = self.has(Bug::NoUnhintedRead) || self.has(Bug::PlainCursor);
        let unhinted = !hints_only && Instant::now() >= self.next_unhinted;
        let mut page = Page::default();
        let mut open = BTreeSet::new();
        if self.has(Bug::TwoStatements) {
            {
                let state = shared.lock();
                open.clone_from(&state.open);
                let below = self.select(&state, |seq| seq < self.pos && self.is_gap(seq));
                self.outbox(&state, &below, request, &mut page);
            }
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        let mut state = shared.lock();
        self.redriven(&state, request, &mut page);
        let plain = self.has(Bug::PlainCursor);
        let two = self.has(Bug::TwoStatements);
        let seqs = self.select(&state, |seq| {
            seq >= self.pos || !plain && !two && (unhinted || self.is_gap(seq))
        });
        let covered = self.outbox(&state, &seqs, request, &mut page);
        if unhinted && !page.is_full(request) {
            self.next_unhinted = Instant::now() + UNHINTED;
        }
        if let Some(covered) = covered {
            open.extend(&state.open);
            self.take_note(&seqs, covered, &open, page.is_full(request));
        }
        if self.has(Bug::SettleBeforePublish) {
            for row in &page.rows {
                state.rows.remove(&row.event.position);
            }
        }
        drop(state);
        Ok(page.rows)
    }

    fn forget(&mut self, settled: &[EventRef]) {
        for event in settled {
            let letter = self.shared.lock().dead.get(&event.position).cloned();
            if let Some(letter) = letter {
                self.own_parked.insert(aggregate(&letter.envelope));
            }
            self.in_flight.remove(&(event.origin, event.position));
        }
    }

    fn rewind(&mut self) {
        self.in_flight.clear();
        self.gaps.clear();
        self.held.clear();
        self.pos = i64::MIN;
        self.next_unhinted = Instant::now();
    }

    fn overlooked(&mut self) -> u64 {
        let overlooked = std::mem::take(&mut self.overlooked);
        if self.has(Bug::OverlookedIsNotCounted) { 0 } else { overlooked }
    }
}
