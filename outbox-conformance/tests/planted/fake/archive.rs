//! What was published.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use relaybox_conformance::async_trait;
use relaybox_core::{
    ArchiveQuery, ArchiveStore, ArchivedEvent, EventId, Origin, Published, Receipt, Result,
};

use super::{
    FakeStore,
    database::{Dead, Shared, State},
};
use crate::bug::Bug;

pub(super) struct Archived {
    published: Published,
    letter: Dead,
    at: DateTime<Utc>,
    since: Instant,
}

impl State {
    /// Puts away what a settlement says was published; `taken` is what it found.
    pub(super) fn archive(&mut self, shared: &Shared, published: &Published, taken: Option<Dead>) {
        let redriven = published.event.origin == Origin::DeadLetter;
        if redriven && shared.has(Bug::RedrivenIsNotArchived) {
            return;
        }
        let before = self.archive.iter().find(|row| row.published.event == published.event);
        let again = before.filter(|_| shared.has(Bug::ArchivedTwice));
        let Some(letter) = taken.or_else(|| again.map(|row| row.letter.clone())) else { return };
        let mut published = published.clone();
        if shared.has(Bug::ArchivedWithoutItsPlace) {
            published.receipt = Receipt::unnumbered();
        }
        let now = Instant::now();
        let since = if shared.has(Bug::ArchivedWithTheTimeOfWriting) { letter.since } else { now };
        let at = Utc::now() - TimeDelta::from_std(now - since).unwrap();
        self.archive.push(Archived { published, letter, at, since });
    }
}

#[async_trait]
impl ArchiveStore for FakeStore {
    async fn archived(&self, query: &ArchiveQuery) -> Result<Vec<ArchivedEvent>> {
        let state = self.shared.lock();
        let mut found: Vec<_> = state.archive.iter().filter(|row| row.matches(query)).collect();
        found.reverse();
        found.truncate(query.limit as usize);
        Ok(found.into_iter().map(Archived::to_event).collect())
    }

    async fn purge_archive(&self, age: Duration, limit: u32) -> Result<u64> {
        let shared = Arc::clone(&self.shared);
        let archive = &mut shared.lock().archive;
        let old =
            |row: &Archived| row.since.elapsed() >= age || shared.has(Bug::PurgeIgnoresTheAge);
        let before = archive.len();
        if shared.has(Bug::PurgeTakesTheLatest) {
            archive.truncate(before.saturating_sub(limit as usize));
        } else {
            let old = archive.iter().take_while(|row| old(row)).count();
            archive.drain(..old.min(limit as usize));
        }
        Ok((before - archive.len()) as u64)
    }
}

impl Archived {
    pub(super) fn event_id(&self) -> EventId {
        self.letter.envelope.event_id
    }

    fn matches(&self, query: &ArchiveQuery) -> bool {
        let envelope = &self.letter.envelope;
        (query.event_ids.is_empty() || query.event_ids.contains(&envelope.event_id))
            && query.aggregate_type.as_ref().is_none_or(|known| *known == envelope.aggregate_type)
            && query.aggregate_id.as_ref().is_none_or(|known| *known == envelope.aggregate_id)
            && query.published_from.is_none_or(|from| self.at >= from)
            && query.published_before.is_none_or(|before| self.at < before)
    }

    fn to_event(&self) -> ArchivedEvent {
        let waited = TimeDelta::from_std(self.since.saturating_duration_since(self.letter.since));
        let envelope = super::database::decoded(&self.letter.envelope, self.letter.spoilt);
        let enqueued_at = self.at - waited.unwrap_or_default();
        ArchivedEvent::new(self.published.clone(), enqueued_at, self.at, envelope)
    }
}
