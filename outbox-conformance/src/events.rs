//! Events whose payload is their name, and settlements of them.

use relaybox_core::{
    AggregateId, AggregateType, Envelope, ErrorKind, EventRef, EventType, GivenUp, Label,
    OutboxRow, Published, Receipt, RelayId, Settlement, TopicName,
};

const VALID: &str = "the suite's own names are valid";

pub(crate) fn thing() -> AggregateType {
    AggregateType::new("thing").expect(VALID)
}

/// An event of an aggregate, with its name as payload.
pub(crate) fn event(aggregate: &str, name: &str) -> Envelope {
    event_of(thing(), aggregate, name)
}

pub(crate) fn event_of(aggregate_type: AggregateType, aggregate: &str, name: &str) -> Envelope {
    Envelope::new(
        EventType::new("thing.changed", 1).expect(VALID),
        aggregate_type,
        aggregate_id(aggregate),
        name.as_bytes().to_vec(),
    )
}

pub(crate) fn aggregate_id(name: &str) -> AggregateId {
    AggregateId::new(name.to_owned()).expect(VALID)
}

/// The name of an event; of a row that is none, so much.
pub(crate) fn name(envelope: &relaybox_core::Result<Envelope>) -> String {
    envelope.as_ref().map_or_else(
        |_| "no event".to_owned(),
        |envelope| String::from_utf8_lossy(&envelope.payload).into_owned(),
    )
}

/// The names of rows, and whether they are parked.
pub(crate) fn names(rows: &[OutboxRow]) -> Vec<String> {
    let name = |row: &OutboxRow| {
        let parked = if row.parked { " parked" } else { "" };
        format!("{}{parked}", name(&row.envelope))
    };
    rows.iter().map(name).collect()
}

pub(crate) fn refs(rows: &[OutboxRow]) -> Vec<EventRef> {
    rows.iter().map(|row| row.event).collect()
}

pub(crate) fn relay() -> RelayId {
    RelayId::new(&Label::new("conformance").expect(VALID))
}

pub(crate) fn topic() -> TopicName {
    TopicName::new("thing-events.v1").expect(VALID)
}

pub(crate) fn published(events: &[EventRef]) -> Settlement {
    let published = |event: &EventRef| Published::new(*event, topic(), Receipt::unnumbered());
    let mut settlement = Settlement::default();
    settlement.published = events.iter().map(published).collect();
    settlement
}

pub(crate) fn parked(events: &[EventRef]) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.parked = events.to_vec();
    settlement
}

pub(crate) fn dead(events: &[EventRef]) -> Settlement {
    let dead =
        |event: &EventRef| GivenUp::new(*event, ErrorKind::Rejected, "refused".to_owned(), 3);
    let mut settlement = Settlement::default();
    settlement.dead = events.iter().map(dead).collect();
    settlement
}

/// The first is dead, and the others wait behind it.
pub(crate) fn first_dead_rest_parked(events: &[EventRef]) -> Settlement {
    let mut settlement = dead(&events[..1]);
    settlement.parked = events[1..].to_vec();
    settlement
}
