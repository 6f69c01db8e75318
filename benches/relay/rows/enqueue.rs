//! What `enqueue` costs in a transaction that also inserts a business row, against the same
//! transaction with a hand-written INSERT of the same row.

use std::time::Instant;

use relaybox::{Outbox, postgres::PgOutbox};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::Bench;
use crate::{
    event::{Changed, SOURCE},
    load::ByHand,
    support::{
        POSTGRES_KAFKA,
        database::{Database, connect, sync},
        figures::{median, rate},
        report::{Bar, Line},
    },
};

/// Small rounds: what the disk and the machine do meanwhile happens to both.
const ROUND: u64 = 100;

pub(super) async fn measure(bench: &Bench) {
    let database = Database::create(&bench.servers().postgres).await;
    // 4,000 transactions, unless told otherwise.
    let rounds = bench.options.events(4_000).div_ceil(ROUND);
    let (ours, bare) = rates(&database, rounds, "SET synchronous_commit = on").await;
    Line::new("enqueue", POSTGRES_KAFKA, rounds * ROUND)
        .rates(ours, bare)
        .bar("ratio", ours / bare, Bar::AtLeast(0.9))
        .print(bench.options.json);
    // Without the disk, whose share of a transaction hides what enqueue costs.
    let (ours, bare) = rates(&database, rounds, "SET synchronous_commit = off").await;
    Line::new("enqueue-commit-off", POSTGRES_KAFKA, rounds * ROUND)
        .rates(ours, bare)
        .figure("ratio", ours / bare)
        .print(bench.options.json);
}

/// Transactions a second through the library, and by hand, on one connection.
async fn rates(database: &Database, rounds: u64, set: &'static str) -> (f64, f64) {
    let (server, name) = database.address();
    let mut connection = PgConnection::connect_with(&connect(server, name)).await.unwrap();
    sqlx::query(set).execute(&mut connection).await.unwrap();
    let outbox = Outbox::builder(database.store()).source(SOURCE).unwrap().build();
    database.execute("TRUNCATE outbox_events, things").await;
    sync();
    // Statements are prepared, pages are there.
    enqueued(&mut connection, &outbox).await;
    by_hand(&mut connection).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            ours.push(enqueued(&mut connection, &outbox).await);
            bare.push(by_hand(&mut connection).await);
        } else {
            bare.push(by_hand(&mut connection).await);
            ours.push(enqueued(&mut connection, &outbox).await);
        }
    }
    (rate(ROUND, median(ours)), rate(ROUND, median(bare)))
}

/// The seconds of a round through the library.
async fn enqueued(connection: &mut PgConnection, outbox: &Outbox<PgOutbox>) -> f64 {
    let since = Instant::now();
    for _ in 0..ROUND {
        let changed = Changed::new(Uuid::now_v7());
        let mut tx = connection.begin().await.unwrap();
        insert_thing(&mut tx, &changed).await;
        outbox.enqueue(&mut tx, &changed).await.unwrap();
        tx.commit().await.unwrap();
    }
    since.elapsed().as_secs_f64()
}

/// The seconds of a round by hand: the same columns, the same bytes.
async fn by_hand(connection: &mut PgConnection) -> f64 {
    let since = Instant::now();
    for _ in 0..ROUND {
        let changed = Changed::new(Uuid::now_v7());
        let mut tx = connection.begin().await.unwrap();
        insert_thing(&mut tx, &changed).await;
        let event = ByHand::new(&changed);
        let columns = event.columns();
        sqlx::query(
            "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_name, \
             event_version, occurred_at, content_type, partition_key, source, correlation_id, \
             causation_id, user_id, traceparent, tracestate, headers, payload) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        )
        .bind(columns.event_id)
        .bind(columns.aggregate_type)
        .bind(columns.aggregate_id)
        .bind(columns.event_name)
        .bind(columns.event_version)
        .bind(columns.occurred_at)
        .bind(columns.content_type)
        .bind(columns.partition_key)
        .bind(columns.source)
        .bind(columns.correlation_id)
        .bind(columns.causation_id)
        .bind(columns.user_id)
        .bind(columns.traceparent)
        .bind(columns.tracestate)
        .bind(columns.headers)
        .bind(columns.payload)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }
    since.elapsed().as_secs_f64()
}

async fn insert_thing(connection: &mut PgConnection, changed: &Changed) {
    let insert = sqlx::query("INSERT INTO things (id, n) VALUES ($1, 1)").bind(changed.id);
    insert.execute(connection).await.unwrap();
}
