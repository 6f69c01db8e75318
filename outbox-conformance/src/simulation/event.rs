//! What happens in the simulation.

use relaybox_core::{AggregateType, DomainEvent, Envelope, EventType, TopicMap, TopicName};
use serde::{Deserialize, Serialize};

/// The kinds of aggregates.
pub(super) const KINDS: [&str; 2] = ["thing", "other"];
/// Poison has this in it; the broker refuses it until it is mended.
const POISON: &str = "poison";

/// Something happened to an aggregate, the `n`th time.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Happened {
    pub(super) kind: usize,
    pub(super) aggregate: String,
    pub(super) n: usize,
    pub(super) note: String,
}

impl Happened {
    pub(super) fn new(kind: usize, aggregate: String, n: usize, poison: bool) -> Self {
        let note = if poison { POISON } else { "" }.to_owned();
        Self { kind, aggregate, n, note }
    }
}

impl DomainEvent for Happened {
    const EVENT_TYPES: &'static [EventType] = &[EventType::from_static("something.happened", 1)];

    fn event_type(&self) -> EventType {
        Self::EVENT_TYPES[0].clone()
    }

    fn aggregate_type(&self) -> &'static str {
        KINDS[self.kind]
    }

    fn aggregate_id(&self) -> String {
        self.aggregate.clone()
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}

pub(super) fn is_poison(envelope: &Envelope) -> bool {
    envelope.payload.windows(POISON.len()).any(|window| window == POISON.as_bytes())
}

pub(super) fn kinds() -> Vec<AggregateType> {
    KINDS.iter().map(|kind| AggregateType::new(*kind).expect("valid")).collect()
}

pub(super) fn topics() -> Vec<TopicName> {
    kinds().iter().map(|kind| TopicMap::new().topic(kind)).collect()
}
