//! 7. Work in memory is bounded; a backlog of any size drains.

use std::time::Duration;

use relaybox_tests::{Database, Process, RelayOptions, Topic, servers, until};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_larger_than_the_memory_allowed_drains_within_it() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    // 400 MB of payload, most of it in large events; the server makes them up.
    sqlx::query(
        "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name, event_version,
             occurred_at, content_type, source, payload)
         SELECT gen_random_uuid(), 'thing', 't' || n % 50, 'thing.changed', 1, now(), 'application/json', 'test',
             convert_to('{\"id\":\"t' || n % 50 || '\",\"n\":' || n || ',\"bulk\":\"' || repeat(md5(n::text), size / 32) || '\"}', 'UTF8')
         FROM (SELECT n, CASE WHEN n % 40 = 0 THEN 600000 ELSE 5000 END AS size FROM generate_series(1, 20000) AS n) AS sizes",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let binary = env!("CARGO_BIN_EXE_relay-process");
    // Whatever the disk does under such a load: a lost lease would publish some of it again.
    let options = RelayOptions { lease_ttl: Duration::from_secs(30), ..RelayOptions::default() };
    let mut process = Process::relay(binary, &database, &topic, options);
    process.until("READY");
    let mut left = database.backlog().await;
    while left > 0 {
        until("the backlog to get less", async || database.backlog().await < left).await;
        left = database.backlog().await;
    }
    let peak = process.peak_memory();
    process.signal("TERM");
    assert!(process.wait(), "it ended well");
    println!("peak resident memory: {} MiB", peak / MIB);
    assert!(peak <= 128 * MIB, "{} MiB", peak / MIB);
    assert_eq!(topic.envelopes().await.len(), 20_000);
    database.drop().await;
}
