//! What was published, when the in-memory database keeps it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::Utc;
use tokio::time::Instant;

use super::{
    MemoryStore,
    store::{Archived, State, Taken},
};
use crate::{ArchiveQuery, ArchiveStore, ArchivedEvent, Published, Result};

impl MemoryStore {
    /// Keeps published events in an archive, instead of dropping them; clones do so, too.
    #[must_use]
    pub fn archive_published(self) -> Self {
        self.shared.lock().archive.get_or_insert_default();
        self
    }
}

#[async_trait]
impl ArchiveStore for MemoryStore {
    async fn archived(&self, query: &ArchiveQuery) -> Result<Vec<ArchivedEvent>> {
        self.shared.faults.step("look into the archive", || {
            let state = self.shared.lock();
            let mut matching: Vec<_> =
                state.archive.iter().flatten().filter(|row| row.matches(query)).collect();
            matching.sort_by_key(|row| (row.published_at, row.published.event.position));
            let latest = matching.into_iter().rev().take(query.limit as usize);
            Ok(latest.map(Archived::to_event).collect())
        })
    }

    async fn purge_archive(&self, age: Duration, limit: u32) -> Result<u64> {
        let shared = Arc::clone(&self.shared);
        self.shared.faults.step("purge the archive", || {
            let mut state = shared.lock();
            let Some(archive) = &mut state.archive else { return Ok(0) };
            let before = archive.len();
            // In the order in which they came.
            let mut left = limit;
            archive.retain(|row| {
                let purged = left > 0 && row.since.elapsed() >= age;
                left -= u32::from(purged);
                !purged
            });
            Ok((before - archive.len()) as u64)
        })
    }
}

impl State {
    /// Puts away what a settlement took out of its place, if it is to be kept.
    pub(super) fn archive(&mut self, published: &Published, taken: Taken) {
        let Some(archive) = &mut self.archive else { return };
        let (published_at, since) = (Utc::now(), Instant::now());
        archive.push(Archived {
            published: published.clone(),
            envelope: taken.envelope,
            enqueued_at: published_at - taken.since.elapsed(),
            published_at,
            since,
        });
    }
}

impl Archived {
    fn matches(&self, query: &ArchiveQuery) -> bool {
        let envelope = &self.envelope;
        (query.event_ids.is_empty() || query.event_ids.contains(&envelope.event_id))
            && query.aggregate_type.as_ref().is_none_or(|known| *known == envelope.aggregate_type)
            && query.aggregate_id.as_ref().is_none_or(|known| *known == envelope.aggregate_id)
            && query.published_from.is_none_or(|from| self.published_at >= from)
            && query.published_before.is_none_or(|before| self.published_at < before)
    }

    fn to_event(&self) -> ArchivedEvent {
        let envelope = Ok(self.envelope.clone());
        ArchivedEvent::new(self.published.clone(), self.enqueued_at, self.published_at, envelope)
    }
}
