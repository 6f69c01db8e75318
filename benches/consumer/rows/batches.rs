//! Events from Kafka (12 partitions) to Postgres (fsync on), by one consumer.

use super::Bench;
use crate::{
    contest::{Contest, Effect, Side},
    support::{
        POSTGRES_KAFKA,
        report::{Bar, Line},
    },
};

/// The handler inserts a row for each event.
pub(super) async fn insert(bench: &Bench) {
    let contest = Contest::new(bench, bench.options.events(100_000)).await;
    let rates = contest.rates(Effect::Insert, Side::Bare).await;
    print(bench, "insert", contest.events, rates, 0.85);
}

/// The handler has no statement of its own.
pub(super) async fn marks_only(bench: &Bench) {
    let contest = Contest::new(bench, bench.options.events(300_000)).await;
    let rates = contest.rates(Effect::AddUp, Side::Bare).await;
    print(bench, "marks-only", contest.events, rates, 0.8);
}

/// Against the usual way, a transaction for each event; the handler inserts a row.
pub(super) async fn one_by_one(bench: &Bench) {
    let contest = Contest::new(bench, bench.options.events(60_000)).await;
    let rates = contest.rates(Effect::Insert, Side::OneByOne).await;
    print(bench, "one-by-one", contest.events, rates, 5.0);
}

/// A topic read again: all events are marked already.
pub(super) async fn repeats(bench: &Bench) {
    let contest = Contest::new(bench, bench.options.events(300_000)).await;
    contest.rate(Effect::AddUp, Side::Library).await;
    contest.database.execute("VACUUM ANALYZE processed_events").await;
    let rates = contest.rates(Effect::None, Side::Bare).await;
    print(bench, "repeats", contest.events, rates, 0.8);
}

fn print(bench: &Bench, name: &'static str, events: u64, (ours, bare): (f64, f64), least: f64) {
    Line::new(name, POSTGRES_KAFKA, events)
        .rates(ours, bare)
        .bar("ratio", ours / bare, Bar::AtLeast(least))
        .print(bench.options.json);
}
