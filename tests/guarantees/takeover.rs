//! Several relays of one outbox: one works, the others take over when it ends, is killed, or is paused.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use relaybox_tests::{
    Database, Process, RelayOptions, Stalls, Topic, Writers, servers, share, until,
};
use sqlx::Row;

use crate::drained;

const LEASE: Duration = Duration::from_secs(1);

/// Relay processes by their names.
struct Relays<'t> {
    database: &'t Database,
    topic: &'t Topic,
    processes: BTreeMap<String, Process>,
    started: u32,
    options: RelayOptions,
}

impl<'t> Relays<'t> {
    fn start(
        database: &'t Database,
        topic: &'t Topic,
        relays: usize,
        options: RelayOptions,
    ) -> Self {
        let mut started = Self { database, topic, processes: BTreeMap::new(), started: 0, options };
        while started.processes.len() < relays {
            started.add();
        }
        started
    }

    fn add(&mut self) {
        let name = format!("relay{}", self.started);
        self.started += 1;
        let options = RelayOptions { name: name.clone(), ..self.options.clone() };
        let binary = env!("CARGO_BIN_EXE_relay-process");
        let mut process = Process::relay(binary, self.database, self.topic, options);
        process.until("READY");
        self.processes.insert(name, process);
    }

    /// Waits until one other than `before` holds the lease; gives its name and epoch.
    async fn holder(&self, before: &str) -> (String, i64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let row = sqlx::query(
                "SELECT regexp_replace(owner, '-[^-]*$', ''), epoch FROM outbox_relay
                 WHERE lease_until > clock_timestamp()",
            )
            .fetch_optional(&self.database.pool)
            .await
            .unwrap();
            if let Some(row) = row
                && row.get::<&str, _>(0) != before
            {
                return (row.get(0), row.get(1));
            }
            assert!(Instant::now() < deadline, "nobody takes over from {before}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn end_well(self) {
        for process in self.processes.values() {
            process.signal("TERM");
        }
        for (name, mut process) in self.processes {
            assert!(process.wait(), "{name} ended well");
        }
    }
}

fn lease_of(lease_ttl: Duration) -> RelayOptions {
    RelayOptions { lease_ttl, ..RelayOptions::default() }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Commits an event, and waits until it is published and settled.
async fn published(database: &Database) {
    database.change("probe").await;
    let waiting = "SELECT count(*) FROM outbox_events WHERE aggregate_id = 'probe'";
    until("the probe is published", async || database.number(waiting).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_publishes_within_the_lease_and_a_second_after_a_kill() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let mut relays = Relays::start(&database, &topic, 3, lease_of(LEASE));
    let writers = Writers::start(&database.pool, 2, Duration::from_millis(5));
    let stalls = Stalls::watch(&database.pool, &topic).await;
    let mut took = Vec::new();
    for _ in 0..share(25) {
        published(&database).await;
        let (killed, _) = relays.holder("").await;
        let mut process = relays.processes.remove(&killed).unwrap();
        let since = Instant::now();
        process.signal("KILL");
        assert!(!process.wait());
        let (successor, _) = relays.holder(&killed).await;
        let held = since.elapsed();
        assert_ne!(successor, killed);
        // Committed after the kill, so it is the successor's.
        published(&database).await;
        took.push((held, since.elapsed(), stalls.of_all(since)));
        relays.add();
    }
    drop(stalls);
    println!("after a kill, until another held the lease, had published; stalls: {took:?}");
    let median = median(took.iter().map(|(_, until_published, _)| *until_published));
    assert!(median <= LEASE + Duration::from_secs(1), "{median:?}, whatever the stalls");
    for (_, until_published, stalled) in took {
        let limit = LEASE + Duration::from_secs(1) + stalled;
        assert!(until_published <= limit, "{until_published:?} with {stalled:?} of stalls");
    }
    writers.stop().await;
    drained(&database).await;
    relays.end_well();
    database.assert_published(&topic.envelopes().await).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_takes_over_within_200_ms_after_a_clean_stop() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    // Its end plays no part here.
    let mut relays = Relays::start(&database, &topic, 3, lease_of(LEASE * 20));
    let writers = Writers::start(&database.pool, 2, Duration::from_millis(5));
    let stalls = Stalls::watch(&database.pool, &topic).await;
    let mut took = Vec::new();
    for _ in 0..share(25) {
        published(&database).await;
        let (stopped, epoch) = relays.holder("").await;
        let mut process = relays.processes.remove(&stopped).unwrap();
        process.signal("TERM");
        process.until("RELEASED");
        let since = Instant::now();
        let (_, next) = relays.holder(&stopped).await;
        let (held, stalled) = (since.elapsed(), stalls.of_commits(since));
        assert_eq!(next, epoch + 1, "nobody held it in between");
        published(&database).await;
        took.push((held, stalled, since.elapsed()));
        assert!(process.wait(), "it ended well");
        relays.add();
    }
    drop(stalls);
    println!("after a release, until another held the lease; stalls; had published: {took:?}");
    let median = median(took.iter().map(|(held, ..)| *held));
    assert!(median <= Duration::from_millis(200), "{median:?}, whatever the stalls");
    for (held, stalled, _) in took {
        let limit = Duration::from_millis(200) + stalled;
        assert!(held <= limit, "{held:?} with {stalled:?} of stalls");
    }
    writers.stop().await;
    drained(&database).await;
    relays.end_well();
    let envelopes = topic.envelopes().await;
    let events: i64 = database.changes().await.values().sum();
    assert_eq!(i64::try_from(envelopes.len()).unwrap(), events, "a clean stop repeats nothing");
    database.assert_published(&envelopes).await;
    database.drop().await;
}

/// Notes who deletes how many events, and whose the lease is at that moment: a settlement has locked it.
const NOTE_SETTLEMENTS: &str = "
CREATE TABLE settlements (relay text NOT NULL, holder text NOT NULL, events bigint NOT NULL);
CREATE FUNCTION note_settlement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO settlements SELECT current_setting('application_name'),
        (SELECT regexp_replace(owner, '-[^-]*$', '') FROM outbox_relay), count(*) FROM gone;
    RETURN NULL;
END $$;
CREATE TRIGGER settled AFTER DELETE ON outbox_events REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_settlement();
";

/// Settled by somebody who did not hold the lease.
const WITHOUT_THE_LEASE: &str =
    "SELECT coalesce(sum(events), 0)::bigint FROM settlements WHERE relay <> holder";

async fn settled_by(database: &Database, relay: &str) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(events), 0)::bigint FROM settlements WHERE relay = $1")
        .bind(relay)
        .fetch_one(&database.pool)
        .await
        .unwrap()
}

/// Waits until somebody has settled so many more.
async fn settled(database: &Database, more: i64) {
    let all = "SELECT coalesce(sum(events), 0)::bigint FROM settlements";
    let before = database.number(all).await;
    until("they go on", async || database.number(all).await > before + more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_paused_under_load_settles_nothing_after_another_took_over() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    sqlx::raw_sql(NOTE_SETTLEMENTS).execute(&database.pool).await.unwrap();
    // Whenever it is paused, a settlement is on its way; it arrives when the relay wakes.
    let settle_delay = Duration::from_millis(300);
    let options = RelayOptions { settle_delay, ..lease_of(LEASE) };
    let mut relays = Relays::start(&database, &topic, 2, options);
    let writers = Writers::start(&database.pool, 6, Duration::ZERO);
    for round in 0..share(20) {
        settled(&database, 50).await;
        let (paused, epoch) = relays.holder("").await;
        relays.processes[&paused].signal("STOP");
        let (successor, next) = relays.holder(&paused).await;
        assert!(next > epoch, "{epoch}, then {next}");
        let by_paused = settled_by(&database, &paused).await;
        // At once, so that it wakes before its successor has settled the same events; or later.
        if round % 2 == 1 {
            settled(&database, 200).await;
        }
        let process = relays.processes.get_mut(&paused).unwrap();
        process.signal("CONT");
        process.until("WORKING");
        process.until("STANDING BY");
        settled(&database, 200).await;
        // On a machine that stands still for long enough the lease may be the woken one's again by now.
        if relays.holder("").await == (successor, next) {
            assert_eq!(settled_by(&database, &paused).await, by_paused, "the woken one settled");
        }
    }
    assert_eq!(database.number(WITHOUT_THE_LEASE).await, 0, "settled without the lease");
    writers.stop().await;
    drained(&database).await;
    relays.end_well();
    let envelopes = topic.envelopes().await;
    let events: i64 = database.changes().await.values().sum();
    println!("{events} events, {} records", envelopes.len());
    database.assert_published(&envelopes).await;
    database.drop().await;
}
