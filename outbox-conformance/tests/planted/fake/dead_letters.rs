//! The operator's side.

use chrono::{DateTime, TimeDelta, Utc};
use relaybox_conformance::async_trait;
use relaybox_core::{
    DeadLetter, DeadLetterQuery, DeadLetterState, DeadLetterStore, EventRef, Origin, Published,
    Receipt, Result, Successors, TopicName,
};

use super::{
    FakeStore,
    database::{Aggregate, Dead, Row, State, aggregate, decoded},
};
use crate::bug::Bug;

#[async_trait]
impl DeadLetterStore for FakeStore {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        let state = self.shared.lock();
        let letter = |seq: &i64| {
            let row = &state.dead[seq];
            let envelope = decoded(&row.envelope, row.spoilt);
            let id = row.envelope.event_id;
            let mut letter = DeadLetter::new(*seq, id, row.state, row.failed_at, envelope);
            letter.reason.clone_from(&row.reason);
            letter.attempts = row.attempts;
            letter
        };
        Ok(state.matching(query, |_, _| true).iter().map(letter).collect())
    }

    async fn redrive(&self, query: &DeadLetterQuery) -> Result<u64> {
        let mut state = self.shared.lock();
        // What a flag would help.
        let chosen = state.matching(query, |state, seq| !state.is_free(seq));
        let mut flagged = 0;
        for chosen in chosen {
            let of = aggregate(&state.dead[&chosen].envelope);
            let alone = self.shared.has(Bug::RedriveWithoutPredecessors);
            for (seq, row) in state.dead.range_mut(..=chosen) {
                let selected = *seq == chosen || !alone;
                if selected && aggregate(&row.envelope) == of && row.state == DeadLetterState::Dead
                {
                    row.state = DeadLetterState::Redriving;
                    flagged += 1;
                }
            }
        }
        if self.shared.has(Bug::RedriveByReinsert) {
            state.reinsert();
        }
        Ok(flagged)
    }

    async fn discard(&self, query: &DeadLetterQuery, successors: Successors) -> Result<u64> {
        let mut state = self.shared.lock();
        let before = state.dead.len();
        if self.shared.has(Bug::DiscardTakesTheArchived) {
            let ids = &query.event_ids;
            state.archive.retain(|row| !ids.is_empty() && !ids.contains(&row.event_id()));
        }
        for chosen in state.matching(query, |_, _| true) {
            let Some(head) = state.dead.remove(&chosen) else { continue };
            if self.shared.has(Bug::DiscardedIsArchived) {
                let id = head.envelope.event_id;
                let event = EventRef::new(chosen, id, Origin::DeadLetter);
                let topic = TopicName::new("discarded").unwrap();
                let published = Published::new(event, topic, Receipt::unnumbered());
                state.archive(&self.shared, &published, Some(head.clone()));
            }
            if successors == Successors::Release || head.state == DeadLetterState::Parked {
                continue;
            }
            let of = aggregate(&head.envelope);
            let behind = |(seq, row): (&i64, &Dead)| {
                (aggregate(&row.envelope) == of).then_some((*seq, row.state))
            };
            let behind: Vec<_> = state.dead.range(chosen..).filter_map(behind).collect();
            for (seq, letter) in behind {
                if letter != DeadLetterState::Parked && !self.shared.has(Bug::DiscardTakesTooMany) {
                    break;
                }
                state.dead.remove(&seq);
            }
        }
        Ok((before - state.dead.len()) as u64)
    }
}

impl State {
    /// Whether nothing given up on, and not flagged, is before a letter in its aggregate.
    pub(super) fn is_free(&self, seq: i64) -> bool {
        let of = aggregate(&self.dead[&seq].envelope);
        self.dead.range(..=seq).all(|(_, earlier)| {
            earlier.state != DeadLetterState::Dead || aggregate(&earlier.envelope) != of
        })
    }

    pub(super) fn has_letters(&self, of: &Aggregate) -> bool {
        self.dead.values().any(|dead| aggregate(&dead.envelope) == *of)
    }

    fn matching(&self, query: &DeadLetterQuery, also: impl Fn(&Self, i64) -> bool) -> Vec<i64> {
        let oldest = query.older_than.map(|age| {
            let age = TimeDelta::from_std(age).ok();
            age.and_then(|age| Utc::now().checked_sub_signed(age))
                .unwrap_or(DateTime::<Utc>::MIN_UTC)
        });
        let mut matching: Vec<_> = self
            .dead
            .iter()
            .filter(|(seq, row)| {
                let envelope = &row.envelope;
                let by_type = query.aggregate_type.as_ref();
                let by_id = query.aggregate_id.as_ref();
                (query.event_ids.is_empty() || query.event_ids.contains(&envelope.event_id))
                    && by_type.is_none_or(|known| *known == envelope.aggregate_type)
                    && by_id.is_none_or(|known| *known == envelope.aggregate_id)
                    && oldest.is_none_or(|oldest| row.failed_at <= oldest)
                    && also(self, **seq)
            })
            .map(|(seq, row)| (aggregate(&row.envelope), *seq))
            .collect();
        matching.sort();
        matching.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
        matching.into_iter().map(|(_, seq)| seq).collect()
    }

    fn reinsert(&mut self) {
        let free: Vec<_> = self.dead.keys().copied().filter(|seq| self.is_free(*seq)).collect();
        for seq in free {
            let letter = self.dead.remove(&seq).unwrap();
            self.last_seq += 1;
            let since = std::time::Instant::now();
            let row = Row { tx: 0, envelope: letter.envelope, spoilt: letter.spoilt, since };
            self.rows.insert(self.last_seq, row);
        }
    }
}
