//! The tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use chrono::{DateTime, Utc};
use relaybox_core::{
    AggregateId, AggregateType, DeadLetterState, Envelope, Error, ErrorKind, Lease, Result,
};

use super::{archive::Archived, lease::LeaseRow};
use crate::bug::Bug;

pub(super) struct Shared {
    bug: Option<Bug>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) last_seq: i64,
    pub(super) last_tx: u64,
    /// Transactions that hold the table's lock: they have written, and not ended.
    pub(super) open: BTreeSet<u64>,
    /// What is not committed is here as well.
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) dead: BTreeMap<i64, Dead>,
    /// In the order in which they were published.
    pub(super) archive: Vec<Archived>,
    pub(super) lease: LeaseRow,
}

pub(super) struct Row {
    pub(super) tx: u64,
    pub(super) envelope: Envelope,
    pub(super) spoilt: bool,
    pub(super) since: Instant,
}

#[derive(Clone)]
pub(super) struct Dead {
    pub(super) envelope: Envelope,
    pub(super) spoilt: bool,
    pub(super) state: DeadLetterState,
    pub(super) reason: Option<String>,
    pub(super) attempts: u32,
    pub(super) failed_at: DateTime<Utc>,
    pub(super) since: Instant,
}

pub(super) type Aggregate = (AggregateType, AggregateId);

pub(super) fn aggregate(envelope: &Envelope) -> Aggregate {
    (envelope.aggregate_type.clone(), envelope.aggregate_id.clone())
}

/// What a reader makes of a stored row.
pub(super) fn decoded(envelope: &Envelope, spoilt: bool) -> Result<Envelope> {
    if spoilt {
        return Err(Error::new(ErrorKind::Decode, "read a row").detail("its event name is none"));
    }
    Ok(envelope.clone())
}

impl Shared {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        Self { bug, state: Mutex::default() }
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Whether a lease still is the one that counts.
    pub(super) fn check(&self, state: &State, lease: &Lease) -> Result<()> {
        let holds = if self.has(Bug::NoEpochCheck) {
            true
        } else if self.has(Bug::LeaseByName) {
            state.lease.is_named(lease)
        } else {
            state.lease.is(lease)
        };
        if holds { Ok(()) } else { Err(Error::new(ErrorKind::LeaseLost, "check the lease")) }
    }
}

impl Dead {
    pub(super) fn parked(envelope: Envelope, spoilt: bool, since: Instant) -> Self {
        Self {
            envelope,
            spoilt,
            since,
            state: DeadLetterState::Parked,
            reason: None,
            attempts: 0,
            failed_at: Utc::now(),
        }
    }
}
