//! The in-memory database.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use chrono::{DateTime, Utc};
use tokio::{sync::Notify, time::Instant};

use super::{Faults, MemoryTx};
use crate::{
    ConsumerName, DeadLetterState, Envelope, ErrorKind, EventId, GivenUpAt, Offset, Published,
    RelayId, SchemaFingerprint, StoredSchema, TopicName,
};

/// An outbox, an inbox and some keys and values, in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when a transaction ends: others may wait for its marks.
    pub(super) ended: Notify,
    pub(super) faults: Faults,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) last_position: i64,
    pub(super) last_tx: u64,
    pub(super) events: BTreeMap<i64, Waiting>,
    pub(super) dead: BTreeMap<i64, Dead>,
    /// What was published, in that order; none unless it is to be kept.
    pub(super) archive: Option<Vec<Archived>>,
    pub(super) lease: LeaseRow,
    pub(super) marks: HashMap<(ConsumerName, EventId), MarkRow>,
    /// With the time of the note.
    pub(super) given_up: HashMap<(ConsumerName, TopicName, i32, Offset), (GivenUpAt, Instant)>,
    pub(super) starts: HashMap<(ConsumerName, TopicName, i32), StartRow>,
    pub(super) values: BTreeMap<String, String>,
    pub(super) schemas: BTreeMap<SchemaFingerprint, StoredSchema>,
}

/// How often a consumer began on a partition at the same place, and tried what is at one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct StartRow {
    pub(super) place: Option<Offset>,
    pub(super) starts: u32,
    pub(super) attempt_place: Option<Offset>,
    pub(super) attempts: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) envelope: Envelope,
    pub(super) since: Instant,
}

#[derive(Debug, Clone)]
pub(super) struct Dead {
    pub(super) envelope: Envelope,
    pub(super) state: DeadLetterState,
    pub(super) kind: Option<ErrorKind>,
    pub(super) reason: Option<String>,
    pub(super) attempts: u32,
    pub(super) failed_at: DateTime<Utc>,
    /// When it was enqueued.
    pub(super) since: Instant,
}

/// What was in its place until a settlement.
pub(super) struct Taken {
    pub(super) envelope: Envelope,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Archived {
    pub(super) published: Published,
    pub(super) envelope: Envelope,
    pub(super) enqueued_at: DateTime<Utc>,
    pub(super) published_at: DateTime<Utc>,
    /// The same as [`published_at`](Self::published_at), by the clock that tests can move.
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct LeaseRow {
    pub(super) holder: Option<(RelayId, Instant)>,
    pub(super) epoch: i64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum MarkRow {
    /// By a transaction that has not ended.
    Open(u64),
    Committed(Instant),
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a transaction; dropping it rolls it back.
    pub fn begin(&self) -> MemoryTx {
        MemoryTx::begin(Arc::clone(&self.shared))
    }

    /// The committed value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        self.shared.lock().values.get(key).cloned()
    }

    /// All committed keys and values, by key.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String)> {
        self.shared.lock().values.clone().into_iter().collect()
    }

    /// Makes chosen operations fail.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no operation panics while it holds the state")
    }
}
