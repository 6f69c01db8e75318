//! Who may handle what, while members come and go.

use std::time::Duration;

use relaybox_tests::{
    ConsumerOptions, Database, Deposits, Ledger, Poison, Topic, send, servers, until,
};

use crate::{Members, PARTITIONS, assert_none};

const SESSION: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handler_keeps_its_membership() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka, PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let mut deposits = Deposits::new(1);
    send(&topic.bus(), &topic.name, &deposits.make_poison()).await;
    let group = format!("slow-{}", topic.name);
    let options = ConsumerOptions {
        group: group.clone(),
        session_timeout: SESSION,
        max_poll_interval: SESSION + Duration::from_secs(1),
        poison: Poison::Sleep(SESSION + Duration::from_secs(4)),
        ..ConsumerOptions::default()
    };
    let mut members = Members::start(&database.url(), &topic, options, 1);
    members.process("c0").until("POISON");
    let before = topic.members(&group).await;
    assert_eq!(before.len(), 1);
    until("its effect", async || ledger.effects().await == 1).await;
    members.drained().await;
    assert_eq!(topic.members(&group).await, before, "it was put out, and came back");
    members.stop_all();
    assert_none(ledger.audit(&deposits).await);
    database.drop().await;
}

/// Effects of a process on an account on which the other had one before: a partition goes over once.
const AFTERWARDS: &str = "SELECT count(*) FROM deposits AS late WHERE process = 'c0' AND EXISTS (\
     SELECT 1 FROM deposits AS early \
     WHERE early.account = late.account AND early.process = 'c1' AND early.at < late.at)";

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partition_is_never_touched_again() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka, PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let mut deposits = Deposits::new(120);
    deposits.send(&topic.bus(), &topic, 8_000).await;
    let options = ConsumerOptions {
        group: format!("revoked-{}", topic.name),
        // Less than a batch takes.
        drain_timeout: Duration::from_secs(1),
        session_timeout: Duration::from_secs(30),
        rest: Duration::from_millis(10),
        ..ConsumerOptions::default()
    };
    let mut members = Members::start(&database.url(), &topic, options, 1);
    members.at_work(&ledger).await;
    members.add();
    members.at_work(&ledger).await;
    members.drained().await;
    members.stop_all();
    println!("{:?}", ledger.by_process(0).await);
    assert_none(ledger.audit(&deposits).await);
    assert_eq!(database.number(AFTERWARDS).await, 0);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_by_the_deadline_of_a_rebalance_is_abandoned_and_done_by_the_successor() {
    let Some((postgres, kafka)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka, PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let bus = topic.bus();
    // Accounts on all partitions, most likely; each begins with one that takes its time.
    let mut deposits = Deposits::new(60);
    send(&bus, &topic.name, &deposits.make_poison()).await;
    deposits.send(&bus, &topic, 600).await;
    let options = ConsumerOptions {
        group: format!("abandoned-{}", topic.name),
        drain_timeout: Duration::from_secs(1),
        poison: Poison::Sleep(Duration::from_secs(25)),
        // A transaction in every partition.
        connections: 16,
        ..ConsumerOptions::default()
    };
    let mut members = Members::start(&database.url(), &topic, options, 1);
    members.process("c0").until("POISON");
    members.options.poison = Poison::None;
    members.add();
    // It has got partitions, though no handler of the first member has ended.
    until("effects of the second", async || ledger.by_process(0).await.contains_key("c1")).await;
    members.stop("c0");
    members.drained().await;
    members.stop_all();
    let by_process = ledger.by_process(0).await;
    assert_eq!(by_process.keys().collect::<Vec<_>>(), ["c1"], "{by_process:?}");
    assert_none(ledger.audit(&deposits).await);
    assert!(topic.dead_lettered().await.is_empty());
    database.drop().await;
}
