//! The embedded stores and buses, which need no server.

use std::time::Instant;

use relaybox::{
    AggregateId, AggregateType, Envelope, EventBus, EventType, OutboxWriter, Record, TopicMap,
    memory::{MemoryBus, MemoryStore},
};

use super::Bench;
use crate::{
    bare,
    event::{AGGREGATE, NAME},
    relay,
    support::{
        PAYLOAD,
        database::sync,
        figures::{float, median, rate},
        report::{Bar, Line},
        sqlite::File,
        topic::Topic,
    },
};

/// The bare loop has two speeds, as its threads share a core or not: few rounds may have one of them for one
/// side, and the other for the other.
const SQLITE_ROUNDS: usize = 9;

pub(super) async fn sqlite_to_mock(bench: &Bench) {
    let events = bench.options.events(100_000);
    let rounds = bench.options.rounds().max(SQLITE_ROUNDS);
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let file = File::create().await;
        file.fill(events).await;
        let topic = Topic::embedded();
        bares.push(rate(events, bare::sqlite(&file.pool, &topic, events).await));
        let sent = (round == 0).then(|| topic.first_record());
        sync();
        let topic = Topic::embedded();
        let took = relay::drain(file.store(), topic.bus().await, topic.topics(), events).await;
        ours.push(rate(events, took));
        if let Some(sent) = sent {
            assert_eq!(sent, topic.first_record(), "both send the same records");
        }
    }
    let (ours, bare) = (median(ours), median(bares));
    Line::new("drain", ("sqlite", "mock"), events)
        .rates(ours, bare)
        .bar("ratio", ours / bare, Bar::AtLeast(0.8))
        .figure("rounds", float(rounds as u64))
        .print(bench.options.json);
}

/// The bare loop has everything in memory as well, and hands it to the client.
pub(super) async fn memory_to_mock(bench: &Bench) {
    let events = bench.options.events(100_000);
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds() {
        let topic = Topic::embedded();
        bares.push(rate(events, bare::memory(&envelopes(events), &topic).await));
        let topic = Topic::embedded();
        let (store, bus) = (filled(events).await, topic.bus().await);
        ours.push(rate(events, relay::drain(store, bus, topic.topics(), events).await));
    }
    print(bench, "mock", events, ours, bares);
}

/// What the relay itself costs: the bare loop hands the records to the bus, and that is all.
pub(super) async fn memory_to_memory(bench: &Bench) {
    let events = bench.options.events(100_000);
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds() {
        bares.push(rate(events, hand_over(events).await));
        let (store, bus) = (filled(events).await, MemoryBus::new());
        ours.push(rate(events, relay::drain(store, bus, TopicMap::new(), events).await));
    }
    print(bench, "memory", events, ours, bares);
}

fn print(bench: &Bench, bus: &'static str, events: u64, ours: Vec<f64>, bares: Vec<f64>) {
    let (ours, bare) = (median(ours), median(bares));
    Line::new("drain", ("memory", bus), events)
        .rates(ours, bare)
        .figure("ratio", ours / bare)
        .print(bench.options.json);
}

fn envelopes(events: u64) -> Vec<Envelope> {
    (0..events)
        .map(|n| {
            let payload = n.to_be_bytes().repeat(PAYLOAD / size_of::<u64>());
            Envelope::new(
                EventType::from_static(NAME, 1),
                AggregateType::new(AGGREGATE).unwrap(),
                AggregateId::new(format!("t{}", n % 10_000)).unwrap(),
                payload,
            )
        })
        .collect()
}

async fn filled(events: u64) -> MemoryStore {
    let store = MemoryStore::new();
    let mut tx = store.begin();
    store.write(&mut tx, &envelopes(events)).await.unwrap();
    tx.commit();
    store
}

async fn hand_over(events: u64) -> f64 {
    let (bus, topics) = (MemoryBus::new(), TopicMap::new());
    let records: Vec<_> = envelopes(events)
        .into_iter()
        .map(|envelope| Record::new(topics.topic(&envelope.aggregate_type), envelope))
        .collect();
    let since = Instant::now();
    for batch in records.chunks(500) {
        bus.publish(batch.to_vec()).await;
    }
    since.elapsed().as_secs_f64()
}
