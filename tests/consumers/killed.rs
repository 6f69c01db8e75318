//! Members that are killed, that come and that go.

use std::time::Duration;

use relaybox::CancellationToken;
use relaybox_tests::{
    ConsumerOptions, Database, Deposits, KafkaServer, Ledger, Planted, Topic, server, share, until,
};

use crate::{Members, PARTITIONS, SHORT_SESSION, assert_none};

const EVENTS: i64 = 100_000;
const ACCOUNTS: usize = 600;
/// Sent at once, so often: 3,000 events a second.
const CHUNK: usize = 150;
const EVERY: Duration = Duration::from_millis(50);

/// Sends deposits until it is stopped, and at least so many.
async fn send_until(stop: CancellationToken, topic: &Topic, at_least: i64) -> Deposits {
    let bus = topic.bus();
    let mut deposits = Deposits::new(ACCOUNTS);
    let mut clock = tokio::time::interval(EVERY);
    while !stop.is_cancelled() || deposits.total() < at_least {
        clock.tick().await;
        deposits.send(&bus, topic, CHUNK).await;
    }
    deposits
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_consumers_make_every_effect_exactly_once() {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(kafka) = KafkaServer::start().await else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka.brokers(), PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let options = ConsumerOptions { session_timeout: SHORT_SESSION, ..ConsumerOptions::default() };
    let mut members = Members::start(&database.url(), &topic, options, 3);

    let stop = CancellationToken::new();
    let kills = async {
        for round in 0..share(50) {
            members.at_work(&ledger).await;
            // Every other kill comes in the middle of a rebalance, and so does the guest's leaving.
            let guest = (round % 2 == 1).then(|| members.add());
            let mut names = members.names();
            names.retain(|name| Some(name) != guest.as_ref());
            members.kill(fastrand::choice(&names).unwrap());
            members.add();
            if let Some(guest) = guest {
                members.stop(&guest);
            }
        }
        members.at_work(&ledger).await;
        stop.cancel();
        members
    };
    let (deposits, members) = tokio::join!(send_until(stop.clone(), &topic, EVENTS), kills);
    let at_once = ledger.effects().await;
    members.drained().await;
    members.stop_all();
    println!(
        "{} events, of which {at_once} were handled while members came and went",
        deposits.total()
    );
    assert_none(ledger.audit(&deposits).await);
    assert!(topic.dead_lettered().await.is_empty());
    database.drop().await;
}

/// What the audit finds when a member with a bug is killed so often under load.
async fn found(planted: Planted, kills: u32) -> Vec<String> {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return vec!["skipped".to_owned()] };
    let Some(kafka) = KafkaServer::start().await else { return vec!["skipped".to_owned()] };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka.brokers(), PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let mut deposits = Deposits::new(ACCOUNTS);
    deposits.send(&topic.bus(), &topic, 10_000).await;
    let options =
        ConsumerOptions { session_timeout: SHORT_SESSION, planted, ..ConsumerOptions::default() };
    let mut members = Members::start(&database.url(), &topic, options, 1);
    for _ in 0..kills {
        let enough = ledger.effects().await + 2_000;
        until("it is in full swing", async || ledger.effects().await >= enough).await;
        members.kill(&members.names()[0]);
        members.add();
    }
    members.drained().await;
    members.stop_all();
    let wrong = ledger.audit(&deposits).await;
    println!("{planted:?}: {wrong:?}");
    database.drop().await;
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_without_marks_are_found_out() {
    assert!(!found(Planted::NoMarks, 3).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_that_were_acknowledged_before_their_commit_are_found_out() {
    // A kill may come when all that is acknowledged is committed.
    for _ in 0..3 {
        if !found(Planted::Hasty, 1).await.is_empty() {
            return;
        }
    }
    panic!("three kills, and nothing was lost");
}
