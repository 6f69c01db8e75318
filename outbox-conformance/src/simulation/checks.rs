//! What must hold in the end.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use relaybox_core::{
    DeadLetterQuery, EventId, TopicName,
    memory::{MemoryStore, StoredRecord},
};

use super::{
    bus::Broker,
    consumer::effects_of,
    event::topics,
    writers::{Aggregate, Ledger, aggregate},
};
use crate::DeadLetterStore;

/// Whom the relays gave up on.
pub(super) fn given_up(ledger: &Ledger, given_up: &Mutex<Vec<EventId>>) -> Result<(), String> {
    let ledger = ledger.lock();
    let given_up = given_up.lock().expect("no panic while it is held");
    match given_up.iter().find(|id| !ledger.poison.contains(id)) {
        Some(innocent) => {
            Err(format!("only poison is given up on\n      seen: {innocent}, which is none"))
        }
        None => Ok(()),
    }
}

/// What is on the topics, and what is among the dead letters.
pub(super) async fn outbox(
    store: &MemoryStore,
    broker: &Broker,
    ledger: &Ledger,
    mended: bool,
) -> Result<(), String> {
    let letters = store.dead_letters(&DeadLetterQuery::all()).await.expect("in memory");
    let letters: HashSet<_> = letters.iter().map(|letter| letter.event_id).collect();
    let ledger = ledger.lock();
    if mended && !letters.is_empty() {
        return Err(format!("what is mended is redriven\n      seen: {} are left", letters.len()));
    }
    let published = first_sightings(broker);
    for (of, seen) in &published {
        let committed = ledger.committed.get(of).map_or(&[][..], Vec::as_slice);
        if let Some(stranger) = seen.iter().find(|id| !committed.contains(id)) {
            let rolled_back = ledger.rolled_back.contains(stranger);
            return Err(format!(
                "only what is committed is published\n      seen: {stranger} of {of:?}, rolled back: \
                 {rolled_back}"
            ));
        }
    }
    for (of, committed) in &ledger.committed {
        let seen = published.get(of).map_or(&[][..], Vec::as_slice);
        let lost = committed.iter().find(|id| !seen.contains(id) && !letters.contains(id));
        if let Some(lost) = lost {
            return Err(format!("nothing is lost\n      seen: {lost} of {of:?} is nowhere"));
        }
        if seen.iter().ne(committed.iter().take(seen.len())) {
            let places: Vec<_> =
                seen.iter().map(|id| committed.iter().position(|known| known == id)).collect();
            return Err(format!(
                "the events of {of:?} are published in the order of their commits\n      seen: {places:?}"
            ));
        }
    }
    Ok(())
}

/// How many events on the topics have no effect and were not given up on.
pub(super) fn without_effect(inbox: &MemoryStore, broker: &Broker) -> usize {
    let given_up = given_up_by_the_consumer(broker);
    let lists = inbox.values();
    let with_effect: HashSet<_> =
        lists.iter().flat_map(|(_, list)| list.split_terminator(',')).collect();
    let published = first_sightings(broker).into_values().flatten();
    published
        .filter(|id| !given_up.contains(id) && !with_effect.contains(id.to_string().as_str()))
        .count()
}

/// Each event's effect, once and in order.
///
/// What the consumer gave up on at one place may have its effect at another, where the relay repeated
/// it: given up is not processed.
pub(super) fn effects(inbox: &MemoryStore, broker: &Broker) -> Result<(), String> {
    let given_up = given_up_by_the_consumer(broker);
    let letters: HashSet<_> = given_up.iter().map(ToString::to_string).collect();
    for ((kind, id), published) in first_sightings(broker) {
        let list = inbox.get(&effects_of(&kind, &id)).unwrap_or_default();
        let mut seen: Vec<_> = list.split_terminator(',').collect();
        let different: HashSet<_> = seen.iter().collect();
        if different.len() < seen.len() {
            return Err(format!(
                "each event of {kind} {id} has its effect at most once\n      seen: {seen:?}"
            ));
        }
        seen.retain(|id| !letters.contains(*id));
        let promised: Vec<_> =
            published.iter().filter(|id| !given_up.contains(id)).map(ToString::to_string).collect();
        if seen != promised {
            return Err(format!(
                "each event of {kind} {id} has its effect once, in order\n  promised: {promised:?}\n      \
                 seen: {seen:?}"
            ));
        }
    }
    Ok(())
}

/// How many records are on the topics, repeats included.
pub(super) fn records(broker: &Broker) -> usize {
    topics().iter().map(|topic| broker.topics.records(topic).len()).sum()
}

/// The events of each aggregate as they are on its topic, each where it comes first.
fn first_sightings(broker: &Broker) -> HashMap<Aggregate, Vec<EventId>> {
    let mut sightings: HashMap<Aggregate, Vec<EventId>> = HashMap::new();
    let mut known = HashSet::new();
    for record in topics().iter().flat_map(|topic| broker.topics.records(topic)) {
        let envelope = record.envelope().expect("only events are published");
        if known.insert(envelope.event_id) {
            sightings.entry(aggregate(&envelope)).or_default().push(envelope.event_id);
        }
    }
    sightings
}

fn given_up_by_the_consumer(broker: &Broker) -> HashSet<EventId> {
    let letters = topics().into_iter().flat_map(|topic| {
        let dead = TopicName::new(format!("{topic}.dlq")).expect("a few bytes longer");
        broker.topics.records(&dead)
    });
    letters.filter_map(|record: StoredRecord| Some(record.envelope().ok()?.event_id)).collect()
}
