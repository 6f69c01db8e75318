//! How much memory consumers need that have a large backlog before them: three in one group, each a
//! process of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Bench;
use crate::{
    contest::Contest,
    library,
    process::ConsumerProcess,
    support::{
        POSTGRES_KAFKA,
        figures::{rate, tenths},
        report::{Bar, Line},
    },
};

const CONSUMERS: usize = 3;
/// How often they are asked how far they are.
const PAUSE: Duration = Duration::from_millis(250);
/// How long nothing may happen before the row fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn measure(bench: &Bench) {
    let contest = Contest::new(bench, bench.options.events(2_000_000)).await;
    let group = library::new_group();
    let start = |_| ConsumerProcess::start(&contest.database, &contest.topic, &group);
    let mut consumers: Vec<_> = (0..CONSUMERS).map(start).collect();
    let timeline = drain(&mut consumers, contest.events).await;
    let memory: Vec<f64> = consumers.iter().map(ConsumerProcess::peak_memory).collect();
    for mut consumer in consumers {
        assert!(!consumer.positions().await.is_empty(), "each of them has worked");
        consumer.stop().await;
    }
    contest.check_rows(contest.events).await;
    let (first, last) = (timeline[0], timeline[timeline.len() - 1]);
    let line = Line::new("memory", POSTGRES_KAFKA, contest.events)
        .figure("events_per_s", rate(last.0 - first.0, last.1 - first.1))
        .bar("rss_mib", memory.iter().copied().fold(0.0, f64::max), Bar::AtMost(128.0))
        .series("rss_mib_each", memory)
        .series("tenths_events_per_s", tenths(&timeline));
    line.print(bench.options.json);
}

/// Waits until all is done; says how many were acknowledged at which second, from the first on.
async fn drain(consumers: &mut [ConsumerProcess], events: u64) -> Vec<(u64, f64)> {
    let (since, mut timeline) = (Instant::now(), Vec::<(u64, f64)>::new());
    loop {
        // A partition that changes hands goes on where it was, or somewhat earlier.
        let mut positions = BTreeMap::<i32, i64>::new();
        for consumer in &mut *consumers {
            for (partition, position) in consumer.positions().await {
                let known = positions.entry(partition).or_default();
                *known = position.max(*known);
            }
        }
        let acknowledged = positions.values().sum::<i64>().cast_unsigned();
        let (now, last) = (since.elapsed(), timeline.last().copied());
        if acknowledged > last.map_or(0, |(known, _)| known) {
            timeline.push((acknowledged, now.as_secs_f64()));
        }
        if acknowledged >= events {
            return timeline;
        }
        let quiet = now.as_secs_f64() - last.map_or(0.0, |(_, at)| at);
        assert!(
            quiet < PATIENCE.as_secs_f64(),
            "nothing happens after {acknowledged} of {events} events"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
