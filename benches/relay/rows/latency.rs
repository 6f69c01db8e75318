//! How long it takes from a commit until Kafka has acknowledged the event, by a relay in a process of
//! its own; against a loop that sends each event itself right after its commit.

use std::{sync::OnceLock, time::Duration};

use relaybox::Outbox;

use super::Bench;
use crate::{
    child::Watch,
    client::Client,
    load::{Committed, Latency, Send, WRITERS, commit},
    process::RelayProcess,
    support::{
        POSTGRES_KAFKA,
        database::{Database, sync},
        figures::median,
        report::{Bar, Line},
        topic::Topic,
    },
};

const SILENCE: Duration = Duration::from_secs(10);
const LONE_EVENTS: u64 = 5;
/// What `latency` has found of the dual write.
static DUAL_WRITE: OnceLock<Latency> = OnceLock::new();

pub(super) async fn measure(bench: &Bench) {
    let events = bench.options.events(10_000);
    let database = Database::create(&bench.servers().postgres).await;
    let (mut ours, mut bares, mut rates) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
    for _ in 0..bench.options.rounds() {
        let (bare, rate) = dual_write(bench, &database, events).await;
        bares.push(bare);
        rates.1.push(rate);
        let (our, rate) = relayed(bench, &database, events).await;
        ours.push(our);
        rates.0.push(rate);
    }
    let (ours, bare) = (medians(&ours), medians(&bares));
    DUAL_WRITE.get_or_init(|| bare);
    Line::new("latency", POSTGRES_KAFKA, events)
        .rates(median(rates.0), median(rates.1))
        .figure("p50_ms", ours.p50)
        .figure("bare_p50_ms", bare.p50)
        .bar("p50_ratio", ours.p50 / bare.p50, Bar::AtMost(1.5))
        .figure("p99_ms", ours.p99)
        .figure("bare_p99_ms", bare.p99)
        .bar("p99_ratio", ours.p99 / bare.p99, Bar::AtMost(2.0))
        .print(bench.options.json);
}

/// A lone event after a silence: against the p99 of the dual write under load.
pub(super) async fn measure_lone(bench: &Bench) {
    let database = Database::create(&bench.servers().postgres).await;
    let bare = match DUAL_WRITE.get() {
        Some(bare) => *bare,
        None => dual_write(bench, &database, bench.options.events(10_000)).await.0,
    };
    let topic = Topic::create(&bench.servers().kafka).await;
    let mut relay = RelayProcess::start(&database, &topic, Watch::Acknowledgements).await;
    let (pool, send) = (database.connections(1).await, outbox(&database));
    // The first one warms everything up.
    commit(&pool, 1, &send).await;
    relay.settled(1).await;
    relay.report().await;
    let mut took = Vec::new();
    for lone in 0..LONE_EVENTS {
        tokio::time::sleep(SILENCE).await;
        let committed = commit(&pool, 1, &send).await;
        relay.settled(lone + 2).await;
        took.push(committed.until(&relay.report().await.acknowledged).p50);
    }
    relay.stop().await;
    let lone = median(took);
    Line::new("latency-lone", POSTGRES_KAFKA, LONE_EVENTS)
        .figure("p50_ms", lone)
        .figure("bare_p99_ms", bare.p99)
        .bar("lone_to_bare_p99", lone / bare.p99, Bar::AtMost(3.0))
        .print(bench.options.json);
}

pub(super) fn outbox(database: &Database) -> Send<'static> {
    let outbox = Outbox::builder(database.store()).source(crate::event::SOURCE).unwrap();
    Send::Outbox(outbox.build())
}

async fn relayed(bench: &Bench, database: &Database, events: u64) -> (Latency, f64) {
    let topic = Topic::create(&bench.servers().kafka).await;
    let mut relay = RelayProcess::start(database, &topic, Watch::Acknowledgements).await;
    let committed = load(database, events, &outbox(database)).await;
    relay.settled(events).await;
    let latency = committed.until(&relay.report().await.acknowledged);
    relay.stop().await;
    committed.check_rate("latency");
    (latency, committed.events_per_s())
}

async fn dual_write(bench: &Bench, database: &Database, events: u64) -> (Latency, f64) {
    let topic = Topic::create(&bench.servers().kafka).await;
    let client = Client::connect(topic.brokers(), usize::try_from(events).unwrap()).await;
    let committed = load(database, events, &Send::AfterCommit(client.clone(), &topic)).await;
    client.acknowledged(events).await;
    committed.check_rate("latency, dual write");
    (committed.until_each(&client.acknowledged_at()), committed.events_per_s())
}

async fn load(database: &Database, events: u64, send: &Send<'_>) -> Committed {
    database.execute("TRUNCATE things").await;
    let pool = database.connections(WRITERS).await;
    sync();
    commit(&pool, events, send).await
}

fn medians(rounds: &[Latency]) -> Latency {
    let of = |figure: fn(&Latency) -> f64| median(rounds.iter().map(figure).collect());
    Latency { p50: of(|latency| latency.p50), p99: of(|latency| latency.p99) }
}
