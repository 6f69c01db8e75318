//! Commits whose reply is lost.

use relaybox_tests::{
    CommitCutter, ConsumerOptions, Database, Deposits, Ledger, Planted, Topic, servers,
};

use crate::{Members, PARTITIONS, assert_none};

/// Every seventh commit takes effect without its consumer hearing of it; gives what is wrong.
async fn with_lost_replies(planted: Planted) -> Option<Vec<String>> {
    let (postgres, kafka) = servers()?;
    let database = Database::create(&postgres).await;
    let topic = Topic::wide(&kafka, PARTITIONS).await;
    let ledger = Ledger::create(&database).await;
    let cutter = CommitCutter::start(&database.url(), 7).await;
    let mut deposits = Deposits::new(100);
    deposits.send(&topic.bus(), &topic, 5_000).await;
    let options = ConsumerOptions {
        group: format!("cut-{}", topic.name),
        // Who is charged is given up on.
        attempts: 1,
        max_batch: 20,
        planted,
        ..ConsumerOptions::default()
    };
    let members = Members::start(&cutter.url(&database.url()), &topic, options, 1);
    members.drained().await;
    members.stop_all();
    let mut wrong = ledger.audit(&deposits).await;
    if !topic.dead_lettered().await.is_empty() {
        wrong.push("dead letters".to_owned());
    }
    println!("{planted:?}: {} replies lost: {wrong:?}", cutter.cuts());
    assert!(cutter.cuts() >= 10, "{} replies lost", cutter.cuts());
    database.drop().await;
    Some(wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_reply_makes_no_effect_twice() {
    let Some(wrong) = with_lost_replies(Planted::None).await else { return };
    assert_none(wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_reply_without_marks_is_found_out() {
    let Some(wrong) = with_lost_replies(Planted::NoMarks).await else { return };
    assert!(!wrong.is_empty());
}
