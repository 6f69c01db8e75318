//! What a relay costs that has nothing to do: its process and its connections' backends.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{Bench, latency::outbox};
use crate::{
    child::{APPLICATION, Watch},
    load::commit,
    process::{RelayProcess, cpu_seconds},
    support::{
        POSTGRES_KAFKA,
        database::Database,
        report::{Bar, Line},
        topic::Topic,
    },
};

/// How long after its last event a relay counts as idle.
const CALM: Duration = Duration::from_secs(5);

pub(super) async fn measure(bench: &Bench) {
    let seconds = bench.options.seconds(60);
    let database = Database::create(&bench.servers().postgres).await;
    let topic = Topic::create(&bench.servers().kafka).await;
    let mut relay = RelayProcess::start(&database, &topic, Watch::Nothing).await;
    // It has worked before it is idle: every connection that it wants is there.
    commit(&database.pool, 100, &outbox(&database)).await;
    relay.settled(100).await;
    tokio::time::sleep(CALM).await;
    let backends = backends(&database).await;
    let (since, before) = (Instant::now(), used(&relay, &backends));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (took, after) = (since.elapsed().as_secs_f64(), used(&relay, &backends));
    assert_eq!(backends, self::backends(&database).await, "a connection was made or closed");
    relay.stop().await;
    let percent = |before: f64, after: f64| (after - before) / took * 100.0;
    let (process, database) = (percent(before.0, after.0), percent(before.1, after.1));
    Line::new("idle", POSTGRES_KAFKA, 0)
        .figure("seconds", took)
        .figure("relay_cpu_percent", process)
        .figure("backends_cpu_percent", database)
        .bar("cpu_percent", process + database, Bar::AtMost(1.0))
        .print(bench.options.json);
}

/// The processes that serve the relay's connections.
async fn backends(database: &Database) -> BTreeSet<i32> {
    let backends = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 \
         AND datname = current_database()";
    let backends = sqlx::query_scalar(backends).bind(APPLICATION);
    backends.fetch_all(&database.pool).await.unwrap().into_iter().collect()
}

/// The processor time of the relay, and of its backends, in seconds.
fn used(relay: &RelayProcess, backends: &BTreeSet<i32>) -> (f64, f64) {
    let backends = backends.iter().map(|pid| {
        let pid = u32::try_from(*pid).unwrap();
        cpu_seconds(pid, "postgres").expect("the database runs on another machine")
    });
    (cpu_seconds(relay.id(), "relay").unwrap(), backends.sum())
}
