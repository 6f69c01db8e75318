//! The embedded stores and brokers, which need no server.

use std::{collections::HashSet, time::Instant};

use relaybox::{
    TopicName,
    memory::{MemoryBus, MemorySource, MemoryStore, StoredRecord},
    sqlite::SqliteProcessedEvents,
};
use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};
use uuid::Uuid;

use super::Bench;
use crate::{
    bare::{self, InSqlite},
    event::{TYPE, fill, sum},
    handler::{AddUp, Insert},
    library::{self, NAME},
    support::{
        database::sync,
        figures::{median, rate},
        report::Line,
        sqlite::File,
        topic::Topic,
    },
};

/// From librdkafka's mock cluster to SQLite; the handler inserts a row for each event.
pub(super) async fn sqlite(bench: &Bench) {
    let events = bench.options.events(20_000);
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    let topic = Topic::embedded();
    topic.fill(events).await;
    for _ in 0..bench.options.rounds() {
        let (_file, pool) = database().await;
        let took = bare::consume(&topic, InSqlite(pool.clone()), events).await;
        bares.push(rate(events, took));
        check(&pool, events).await;

        let (_file, pool) = database().await;
        let source = library::source(topic.brokers(), topic.name(), library::new_group());
        let inbox = SqliteProcessedEvents::new(pool.clone());
        ours.push(rate(events, library::consume(source, inbox, Insert, events).await));
        check(&pool, events).await;
    }
    print(bench, "embedded-sqlite", ("sqlite", "mock"), events, ours, bares);
}

/// From memory to memory, which shows the consumer's own work. The bare loop is one over the records
/// with a set of the known ids.
pub(super) async fn memory(bench: &Bench) {
    let events = bench.options.events(100_000);
    let (bus, topic) = (MemoryBus::new(), TopicName::new("things").unwrap());
    fill(&bus, &topic, events).await;
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds() {
        bares.push(rate(events, by_hand(&bus.records(&topic), events)));

        let (store, add_up) = (MemoryStore::new(), AddUp::default());
        let source = MemorySource::new(&bus, library::new_group(), vec![topic.clone()]);
        let took = library::consume(source, store, add_up.clone(), events).await;
        ours.push(rate(events, took));
        add_up.check(events);
    }
    print(bench, "embedded-memory", ("memory", "memory"), events, ours, bares);
}

fn by_hand(records: &[StoredRecord], events: u64) -> f64 {
    let (mut known, add_up) = (HashSet::new(), AddUp::default());
    let since = Instant::now();
    for record in records {
        let id = Uuid::try_parse_ascii(record.header("ce_id").unwrap()).unwrap();
        if known.insert(id) {
            assert_eq!(record.header("ce_type").unwrap(), TYPE.as_bytes());
            add_up.add(&serde_json::from_slice(record.value.as_ref().unwrap()).unwrap());
        }
    }
    let took = since.elapsed().as_secs_f64();
    add_up.check(events);
    took
}

/// A file with the tables of both sides. It has one writer, so one connection is of use.
async fn database() -> (File, SqlitePool) {
    let file = File::create().await;
    let effects = "CREATE TABLE effects (id INTEGER PRIMARY KEY, thing BLOB NOT NULL, \
         n INTEGER NOT NULL)";
    sqlx::query(effects).execute(&file.pool).await.unwrap();
    let connect = (*file.pool.connect_options()).clone();
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(connect).await.unwrap();
    sync();
    (file, pool)
}

/// Panics unless each event has one effect and one mark.
async fn check(pool: &SqlitePool, events: u64) {
    let counted = "SELECT count(*), count(DISTINCT n), sum(n), \
         (SELECT count(*) FROM processed_events WHERE consumer = ?1) FROM effects";
    let counted: (i64, i64, i64, i64) =
        sqlx::query_as(counted).bind(NAME).fetch_one(pool).await.unwrap();
    let count = events.cast_signed();
    assert_eq!(counted, (count, count, sum(events), count), "each event has one effect");
}

fn print(
    bench: &Bench,
    name: &'static str,
    from_and_to: (&'static str, &'static str),
    events: u64,
    ours: Vec<f64>,
    bares: Vec<f64>,
) {
    let (ours, bare) = (median(ours), median(bares));
    Line::new(name, from_and_to, events)
        .rates(ours, bare)
        .figure("ratio", ours / bare)
        .print(bench.options.json);
}
