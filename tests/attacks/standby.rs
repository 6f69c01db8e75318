//! A standby, on which locks and snapshots are not those of the writers, and its promotion.

use std::time::Duration;

use relaybox::{ErrorKind, OutboxStore};
use relaybox_tests::{Database, PostgresServer, server, until};

use crate::{Reading, Relaying, database_on};

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_refused_until_it_is_promoted_and_then_loses_nothing() {
    let Some(_) = server("RELAYBOX_POSTGRES_URL") else { return };
    let Some(mut primary) = PostgresServer::start(&[]).await else { return };
    let there = database_on(&primary.url()).await;
    let mut reading = Reading::open(&there).await;
    for n in 0..40 {
        there.change(&format!("t{}", n % 4)).await;
        if n == 20 {
            reading.read(10).await;
            reading.settle().await;
            reading.read(3).await; // in flight, unsettled
        }
    }
    let standby = primary.standby().await;
    for n in 0..40 {
        there.change(&format!("t{}", n % 4)).await;
    }
    let mut before = reading.given.clone();
    before.extend(reading.close().await);

    let here = Database::open(&standby.url(), there.name()).await;
    let Err(error) = here.store().reader().await else { panic!("a standby was read") };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("standby"), "{error}");
    // A relay that finds itself on one waits.
    let relaying = Relaying::after(&here, before);
    let replayed = "SELECT (coalesce(sum(n), 0))::bigint FROM things";
    until("all is on the standby", async || {
        here.number(replayed).await == 80 && here.backlog().await == there.backlog().await
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!relaying.has_ended(), "a switchover ends no relay");
    assert_eq!(relaying.published(), 0);

    primary.crash();
    standby.promote();
    for n in 0..40 {
        here.change(&format!("t{}", n % 4)).await;
    }
    relaying.complete(&here).await;
}
