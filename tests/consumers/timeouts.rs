//! Handlers that take longer than they may.

use std::time::Duration;

use relaybox_tests::{
    ConsumerOptions, Database, Deposits, Ledger, Poison, Topic, send, servers, until,
};

use crate::{Members, PARTITIONS, assert_none};

const LONG: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_takes_too_long_is_rolled_back_and_never_commits_late() {
    let Some((postgres, kafka)) = servers() else { return };
    for poison in [Poison::Sleep(LONG), Poison::Query(LONG)] {
        let database = Database::create(&postgres).await;
        let topic = Topic::wide(&kafka, PARTITIONS).await;
        let ledger = Ledger::create(&database).await;
        let bus = topic.bus();
        let mut deposits = Deposits::new(50);
        deposits.send(&bus, &topic, 250).await;
        send(&bus, &topic.name, &[deposits.make_fatal()]).await;
        deposits.send(&bus, &topic, 250).await;
        let options = ConsumerOptions {
            group: format!("slow-{}", topic.name),
            attempts: 2,
            poison,
            handler_timeout: Duration::from_secs(2),
            ..ConsumerOptions::default()
        };
        let members = Members::start(&database.url(), &topic, options, 1);
        members.drained().await;
        let transactions = "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
        until("every transaction to have ended", async || database.number(transactions).await == 0)
            .await;
        // As long as the handler would have needed, had it gone on.
        tokio::time::sleep(LONG).await;
        members.stop_all();
        assert_none(ledger.audit_effects(&deposits).await);
        let dead = topic.dead_lettered().await;
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].headers["dlq-error-kind"], "timeout");
        assert_eq!(dead[0].headers["dlq-attempts"], "2");
        database.drop().await;
    }
}
