//! What `stats` costs: it counts the backlog, so it is held against `SELECT count(*)` of the same rows.

use std::time::Instant;

use relaybox::OutboxStore;

use super::Bench;
use crate::support::{
    POSTGRES_KAFKA,
    database::{Database, sync},
    figures::{median, rate},
    report::{Bar, Line},
};

/// How often each is asked; both are short.
const ASKED: usize = 15;

pub(super) async fn measure(bench: &Bench) {
    let (servers, events) = (bench.servers(), bench.options.events(300_000));
    let database = Database::create(&servers.postgres).await;
    database.fill(events).await;
    let loaded = ask(&database, events).await;
    database.execute("VACUUM outbox_events").await;
    let vacuumed = ask(&database, events).await;
    database.execute("DELETE FROM outbox_events").await;
    database.execute("VACUUM outbox_events").await;
    let drained = ask(&database, 0).await;
    for (row, (ours, bare)) in [("stats", loaded), ("stats-vacuumed", vacuumed)] {
        Line::new(row, POSTGRES_KAFKA, events)
            .rates(rate(events, ours), rate(events, bare))
            .bar("ratio", bare / ours, Bar::AtLeast(0.5))
            .figure("stats_ms", ours * 1e3)
            .figure("count_ms", bare * 1e3)
            .print(bench.options.json);
    }
    Line::new("stats-drained", POSTGRES_KAFKA, 0)
        .figure("stats_ms", drained.0 * 1e3)
        .figure("count_ms", drained.1 * 1e3)
        .print(bench.options.json);
}

/// The seconds of a `stats`, and of a count by hand, on the same pool.
async fn ask(database: &Database, events: u64) -> (f64, f64) {
    sync();
    let store = database.store();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ASKED {
        let since = Instant::now();
        let stats = store.stats().await.unwrap();
        ours.push(since.elapsed().as_secs_f64());
        assert_eq!(stats.backlog, events, "it is exact");
        let since = Instant::now();
        let count = database.number("SELECT count(*) FROM outbox_events").await;
        bare.push(since.elapsed().as_secs_f64());
        assert_eq!(u64::try_from(count), Ok(events));
    }
    (median(ours), median(bare))
}
