//! The event of the tests.

use std::collections::{HashMap, HashSet};

use relaybox::{DomainEvent, Envelope};
use serde::{Deserialize, Serialize};

/// A thing changed for the `n`th time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "thing", name = "thing.changed", version = 1)]
pub struct Changed {
    /// Which thing.
    #[event(aggregate_id)]
    pub id: String,
    /// The how-manieth change of it.
    pub n: i64,
}

/// Each thing's numbers in the order in which a reader that drops repeats sees them.
#[must_use]
pub fn per_key(envelopes: &[Envelope]) -> HashMap<String, Vec<i64>> {
    let mut seen = HashSet::new();
    let mut per_key: HashMap<String, Vec<i64>> = HashMap::new();
    for envelope in envelopes.iter().filter(|envelope| seen.insert(envelope.event_id)) {
        let changed: Changed = serde_json::from_slice(&envelope.payload).unwrap();
        per_key.entry(changed.id).or_default().push(changed.n);
    }
    per_key
}
