//! 4. A relay that lost its lease changes nothing in the store.

use std::{str::FromStr, time::Duration};

use relaybox::{
    Acquired, ErrorKind, Label, OutboxStore, Published, ReadRequest, Receipt, RelayId, Settlement,
    TopicName, postgres::PgOutbox,
};
use relaybox_tests::{Database, Process, RelayOptions, Topic, per_key, server, servers, until};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{Running, drained, relay};

#[tokio::test(flavor = "multi_thread")]
async fn a_late_settle_after_lease_loss_changes_nothing() {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return };
    let database = Database::create(&postgres).await;
    let store = database.store();
    let relay = |name: &'static str| RelayId::new(&Label::new(name).unwrap());
    database.change("t").await;

    let ttl = Duration::from_millis(200);
    let Acquired::Held(lost) = store.acquire(&relay("first"), ttl).await.unwrap() else {
        panic!("it is free");
    };
    let mut reader = store.reader().await.unwrap();
    let rows = reader.read(&ReadRequest::new(10)).await.unwrap();
    let mut settlement = Settlement::default();
    let topic = TopicName::new("thing-events.v1").unwrap();
    settlement.published.extend(
        rows.iter().map(|row| Published::new(row.event, topic.clone(), Receipt::unnumbered())),
    );
    tokio::time::sleep(ttl * 2).await;
    let Acquired::Held(current) = store.acquire(&relay("second"), ttl * 100).await.unwrap() else {
        panic!("it has expired");
    };
    assert!(current.epoch > lost.epoch);

    for late in [
        store.settle(&lost, &settlement).await.map(drop),
        store.renew(&lost, ttl).await,
        store.release(&lost).await,
    ] {
        assert_eq!(late.unwrap_err().kind(), ErrorKind::LeaseLost);
    }
    assert_eq!(database.backlog().await, 1);
    assert_eq!(store.stats().await.unwrap().holder.unwrap().0, current.relay);
    assert_eq!(store.settle(&current, &settlement).await.unwrap().published, 1);
    assert_eq!(database.backlog().await, 0);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_the_database_alone_decides_when_a_lease_is_over() {
    let Some(postgres) = server("RELAYBOX_POSTGRES_URL") else { return };
    let database = Database::create(&postgres).await;
    let relay = |name: &'static str| RelayId::new(&Label::new(name).unwrap());
    sqlx::raw_sql(AN_HOUR_LATER).execute(&database.pool).await.unwrap();
    let an_hour_later = PgConnectOptions::from_str(&database.url())
        .unwrap()
        .options([("search_path", "later,pg_catalog,public")]);
    let an_hour_later = PgPoolOptions::new().connect_with(an_hour_later).await.unwrap();
    let an_hour_later = PgOutbox::new(an_hour_later);

    let half_an_hour = Duration::from_secs(1800);
    let store = database.store();
    let Acquired::Held(first) = store.acquire(&relay("first"), half_an_hour).await.unwrap() else {
        panic!("it is free");
    };
    let second = store.acquire(&relay("second"), half_an_hour).await.unwrap();
    assert!(!matches!(second, Acquired::Held(_)), "{second:?}");
    assert_eq!(store.stats().await.unwrap().holder.unwrap().0, first.relay);
    assert!(an_hour_later.stats().await.unwrap().holder.is_none());
    let Acquired::Held(second) =
        an_hour_later.acquire(&relay("second"), half_an_hour).await.unwrap()
    else {
        panic!("by the clock of the database, half an hour is over");
    };
    assert_eq!(second.epoch, first.epoch + 1);
    let late = store.renew(&first, half_an_hour).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::LeaseLost);
    drop(an_hour_later);
    database.drop().await;
}

/// A clock for those who look into this schema first.
const AN_HOUR_LATER: &str = "
CREATE SCHEMA later;
CREATE FUNCTION later.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$;
";

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_relay_that_wakes_after_losing_its_lease_settles_nothing() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let options = RelayOptions::default();
    let mut paused =
        Process::relay(env!("CARGO_BIN_EXE_relay-process"), &database, &topic, options);
    paused.until("READY");
    let mut committed = 0;
    for round in 0..2 {
        for n in 0..100 {
            database.change(&format!("t{}", n % 5)).await;
            committed += 1;
            if round == 0 && n == 50 {
                until("it works", async || !topic.envelopes().await.is_empty()).await;
                paused.signal("STOP");
            }
        }
    }
    // Nothing here waits for its end.
    let relay = Running::relay(relay(&database, &topic).lease_ttl(Duration::from_secs(20)));
    drained(&database).await;
    let holder = database.number("SELECT epoch FROM outbox_relay").await;
    paused.signal("CONT");
    for n in 0..100 {
        database.change(&format!("t{}", n % 5)).await;
        committed += 1;
    }
    drained(&database).await;
    // The woken one stands by: the epoch is still the second relay's.
    assert_eq!(database.number("SELECT epoch FROM outbox_relay").await, holder);
    relay.stop().await;
    paused.signal("TERM");
    assert!(paused.wait(), "it ended well");
    let per_key = per_key(&topic.envelopes().await);
    assert_eq!(per_key.values().map(Vec::len).sum::<usize>(), committed);
    for (key, numbers) in per_key {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    database.drop().await;
}
