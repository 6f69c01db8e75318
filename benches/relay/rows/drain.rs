//! A backlog from Postgres (fsync on) to Kafka (12 partitions, acks=all), by one relay.

use super::Bench;
use crate::{
    bare, relay,
    support::{
        POSTGRES_KAFKA,
        database::{Database, sync},
        figures::{median, rate},
        report::{Bar, Line},
        topic::Topic,
    },
};

pub(super) async fn measure(bench: &Bench) {
    let (servers, events) = (bench.servers(), bench.options.events(300_000));
    let database = Database::create(&servers.postgres).await;
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for round in 0..bench.options.rounds() {
        database.fill(events).await;
        let topic = Topic::create(&servers.kafka).await;
        let took = bare::postgres(&database.pool, &topic, events).await;
        bares.push(rate(events, took));
        let sent = (round == 0).then(|| topic.first_record());
        drop(topic);
        sync();
        let topic = Topic::create(&servers.kafka).await;
        ours.push(rate(events, drain(&database, &topic, events).await));
        if let Some(sent) = sent {
            assert_eq!(sent, topic.first_record(), "both send the same records");
        }
    }
    let (ours, bare) = (median(ours), median(bares));
    Line::new("drain", POSTGRES_KAFKA, events)
        .rates(ours, bare)
        .bar("ratio", ours / bare, Bar::AtLeast(0.75))
        .print(bench.options.json);
}

/// Drains a filled outbox; gives the seconds.
pub(super) async fn drain(database: &Database, topic: &Topic, events: u64) -> f64 {
    relay::drain(database.store(), topic.bus().await, topic.topics(), events).await
}
