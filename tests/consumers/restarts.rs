//! Servers that crash in the middle.

use relaybox_tests::{
    ConsumerOptions, Database, Deposits, KafkaServer, Ledger, PostgresServer, Topic, server, share,
    until,
};

use crate::{Members, PARTITIONS, assert_none};

const EVENTS: usize = 20_000;

/// Waits until this part of the deposits, in hundredths, has had its effect.
async fn handled(ledger: &Ledger, deposits: &Deposits, part: i64) {
    let enough = deposits.total() * part / 100;
    until("a part of the effects", async || ledger.effects().await >= enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_restarted_in_the_middle_loses_nothing() {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(mut kafka) = KafkaServer::start().await else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka.brokers(), PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let mut deposits = Deposits::new(200);
    let restarts = i64::from(share(10));
    let options = ConsumerOptions::default();
    let members = Members::start(&database.url(), &topic, options, 2);
    for _ in 0..restarts {
        deposits.send(&topic.bus(), &topic, EVENTS / 2).await;
        handled(&ledger, &deposits, 80).await;
        kafka.kill();
        kafka.up().await;
    }
    members.drained().await;
    members.stop_all();
    assert_none(ledger.audit(&deposits).await);
    assert!(topic.dead_lettered().await.is_empty());
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_restarted_with_immediate_in_the_middle_dead_letters_nothing() {
    let Some(kafka) = server("RELAYBOX_KAFKA_BROKERS") else { return };
    let Some(mut postgres) = PostgresServer::start(&[]).await else { return };
    let database = Database::create(&postgres.url()).await;
    let topic = Topic::wide(&kafka, PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let mut deposits = Deposits::new(200);
    deposits.send(&topic.bus(), &topic, EVENTS).await;
    let restarts = i64::from(share(15));
    let options = ConsumerOptions {
        group: format!("restarted-{}", topic.name),
        // Who is charged is given up on.
        attempts: 1,
        ..ConsumerOptions::default()
    };
    let members = Members::start(&database.url(), &topic, options, 2);
    for restart in 1..=restarts {
        handled(&ledger, &deposits, 90 * restart / (restarts + 1)).await;
        postgres.restart_immediately().await;
    }
    members.drained().await;
    members.stop_all();
    assert_none(ledger.audit(&deposits).await);
    assert!(topic.dead_lettered().await.is_empty());
}
