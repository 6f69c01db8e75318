//! A database that was dumped and restored elsewhere: the same rows, other transaction ids.

use relaybox_tests::{Database, PostgresServer, dump_and_restore, server};
use sqlx::{Connection, PgConnection};

use crate::{Reading, Relaying, database, execute};

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_restored_elsewhere_goes_on_where_it_was() {
    let Some(database) = database().await else { return };
    let Some(_) = server("RELAYBOX_POSTGRES_URL") else { return };
    // A new server: its transaction ids are far behind those of the one that is dumped.
    let Some(postgres) = PostgresServer::start(&[]).await else { return };
    let mut elsewhere = PgConnection::connect(&postgres.url()).await.unwrap();
    execute(&mut elsewhere, "CREATE DATABASE restored").await;
    let restored = postgres.url_of("restored");

    let mut reading = Reading::open(&database).await;
    for n in 0..60 {
        database.change(&format!("t{}", n % 7)).await;
        if n == 30 {
            reading.read(20).await;
            reading.settle().await;
            reading.read(5).await; // in flight, unsettled
        }
    }
    // Not committed when the dump is taken: not in it.
    let mut open = database.pool.begin().await.unwrap();
    database.raise_in(&mut open, "open").await;
    database.change("t1").await;
    if !dump_and_restore(&database.url(), &restored) {
        return;
    }
    open.rollback().await.unwrap();

    // What was in flight there is given again here.
    let mut before = reading.close().await;
    let there = Database::open(&postgres.url(), "restored").await;
    // The lease came with the dump: its holder is not here.
    execute(&mut there.pool.acquire().await.unwrap(), "UPDATE outbox_relay SET lease_until = NULL")
        .await;
    let mut reading = Reading::open(&there).await;
    let mut late = there.pool.begin().await.unwrap();
    there.raise_in(&mut late, "late").await;
    for n in 0..20 {
        there.change(&format!("t{}", n % 7)).await;
        reading.read(7).await;
    }
    late.commit().await.unwrap();
    reading.drain(&there, 7).await;
    before.extend(reading.close().await);
    // And a relay takes it from there.
    let relaying = Relaying::after(&there, before);
    for n in 0..20 {
        there.change(&format!("t{}", n % 7)).await;
    }
    relaying.complete(&there).await;
    database.drop().await;
}
