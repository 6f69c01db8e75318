//! A record that kills whoever handles it.

use std::time::{Duration, Instant};

use relaybox_tests::{
    ConsumerOptions, Database, Deposits, KafkaServer, Ledger, Poison, Topic, send, server,
};

use crate::{Members, PARTITIONS, SHORT_SESSION, assert_none};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_aborts_the_process_is_dead_lettered_and_the_rest_goes_on() {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(kafka) = KafkaServer::start().await else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka.brokers(), PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let bus = topic.bus();
    let mut deposits = Deposits::new(100);
    deposits.send(&bus, &topic, 1_500).await;
    let fatal = deposits.make_fatal();
    send(&bus, &topic.name, std::slice::from_ref(&fatal)).await;
    deposits.send(&bus, &topic, 1_500).await;

    let options = ConsumerOptions {
        session_timeout: SHORT_SESSION,
        poison: Poison::Abort,
        ..ConsumerOptions::default()
    };
    let mut members = Members::start(&database.url(), &topic, options, 1);
    let group = members.options.group.clone();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut deaths = 0;
    // What systemd or Kubernetes would do.
    while topic.lag(&group).await > 0 {
        assert!(Instant::now() < deadline, "it died {deaths} times, and records still wait");
        let name = members.names()[0].clone();
        if let Some(ended) = members.process(&name).ended() {
            assert!(!ended.success(), "{name} ended by itself");
            deaths += 1;
            members.processes.remove(&name);
            members.add();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    members.stop_all();

    let dead = topic.dead_lettered().await;
    println!(
        "died {deaths} times; {:?}",
        dead.iter().map(|dead| &dead.headers).collect::<Vec<_>>()
    );
    assert_eq!(dead.len(), 1, "the innocent are handled");
    assert_eq!(dead[0].value, serde_json::to_vec(&fatal).unwrap());
    let why = &dead[0].headers["dlq-error"];
    assert!(why.contains("process"), "it says what happened: {why}");
    assert!(deaths >= 2, "one death may have been another's fault");
    assert_none(ledger.audit_effects(&deposits).await);
    database.drop().await;
}
