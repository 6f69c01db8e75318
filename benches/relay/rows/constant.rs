//! Whether a large backlog drains at a constant rate and in bounded memory, by a relay in a process of
//! its own.

use super::Bench;
use crate::{
    child::Watch,
    process::RelayProcess,
    support::{
        POSTGRES_KAFKA,
        database::Database,
        figures::{rate, tenths},
        report::{Bar, Line},
        topic::Topic,
    },
};

pub(super) async fn measure(bench: &Bench) {
    let (servers, events) = (bench.servers(), bench.options.events(2_000_000));
    let database = Database::create(&servers.postgres).await;
    database.fill(events).await;
    let topic = Topic::create(&servers.kafka).await;
    let mut relay = RelayProcess::start(&database, &topic, Watch::Nothing).await;
    relay.settled(events).await;
    let memory = relay.peak_memory();
    let timeline = relay.report().await.timeline;
    relay.stop().await;
    let (Some(first), Some(last)) = (timeline.first(), timeline.last()) else { return };
    let tenths = tenths(&timeline);
    Line::new("drain-constant", POSTGRES_KAFKA, events)
        .figure("events_per_s", rate(last.0 - first.0, last.1 - first.1))
        .bar("last_to_first_tenth", tenths[9] / tenths[0], Bar::AtLeast(0.9))
        .bar("rss_mib", memory, Bar::AtMost(128.0))
        .series("tenths_events_per_s", tenths)
        .print(bench.options.json);
}
