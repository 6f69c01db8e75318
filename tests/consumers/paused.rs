//! A consumer that stands still in the middle of a transaction.

use std::time::{Duration, Instant};

use relaybox_tests::{
    ConsumerOptions, Database, Deposits, KafkaServer, Ledger, Poison, Topic, send, server, until,
};

use crate::{Members, PARTITIONS, SHORT_SESSION, assert_none};

const HANDLER: Duration = Duration::from_secs(8);
/// What the consumer allows beyond the handler for the rollback.
const ROLLBACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_blocks_its_successor_no_longer_than_the_limit() {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(kafka) = KafkaServer::start().await else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka.brokers(), PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let bus = topic.bus();
    let mut deposits = Deposits::new(1);
    let slow = deposits.make_poison();
    send(&bus, &topic.name, &slow).await;
    let options = ConsumerOptions {
        session_timeout: SHORT_SESSION,
        handler_timeout: HANDLER,
        poison: Poison::Sleep(HANDLER - Duration::from_millis(500)),
        ..ConsumerOptions::default()
    };
    let mut members = Members::start(&database.url(), &topic, options, 1);
    members.process("c0").until("POISON");
    members.process("c0").signal("STOP");
    let since = Instant::now();

    members.options.poison = Poison::None;
    let successor = members.add();
    // It waits for a mark that the paused one has made and not committed.
    let waiting = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the successor to wait", async || database.number(waiting).await > 0).await;
    let blocked = Instant::now();
    until("its effect", async || ledger.effects().await == 1).await;
    println!(
        "{:?} after the pause the successor waited, for {:?}",
        blocked - since,
        blocked.elapsed()
    );
    // The limit counts from the last statement of the paused one, and a retry may come on top.
    assert!(
        since.elapsed() < HANDLER + ROLLBACK + Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    let by_process = ledger.by_process(0).await;
    assert_eq!(by_process.keys().collect::<Vec<_>>(), [&successor], "{by_process:?}");

    members.process("c0").signal("CONT");
    deposits.send(&bus, &topic, 50).await;
    members.drained().await;
    members.stop_all();
    assert_none(ledger.audit(&deposits).await);
    assert!(topic.dead_lettered().await.is_empty());
    database.drop().await;
}
