//! Handlers that fail now and then.

use relaybox_tests::{ConsumerOptions, Database, Deposits, Ledger, Planted, Topic, servers};

use crate::{Members, PARTITIONS, assert_none};

/// One try in ten fails; gives what is wrong.
async fn with_failures(concurrency: usize, planted: Planted) -> Option<Vec<String>> {
    let (postgres, kafka) = servers()?;
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka, PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let mut deposits = Deposits::new(100);
    deposits.send(&topic.bus(), &topic, 4_000).await;
    let options = ConsumerOptions {
        group: format!("failing-{}", topic.name),
        failures: 10,
        attempts: 15,
        concurrency,
        planted,
        ..ConsumerOptions::default()
    };
    let members = Members::start(&database.url(), &topic, options, 2);
    members.drained().await;
    members.stop_all();
    let mut wrong = ledger.audit(&deposits).await;
    if !topic.dead_lettered().await.is_empty() {
        wrong.push("dead letters".to_owned());
    }
    println!("{concurrency} at once, {planted:?}: {wrong:?}");
    database.drop().await;
    Some(wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fails_now_and_then_keeps_the_order_of_every_key() {
    for concurrency in [1, 4] {
        let Some(wrong) = with_failures(concurrency, Planted::None).await else { return };
        assert_none(wrong);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_order_is_not_kept_is_found_out() {
    let Some(wrong) = with_failures(4, Planted::Keyless).await else { return };
    let order = wrong.iter().filter(|what| what.contains("out of their account's order"));
    assert_eq!((order.count(), wrong.len()), (1, 1), "the order, and nothing else: {wrong:?}");
}
