//! The limit: loops without this library. Read in order, send, move a cursor once a batch.

use std::time::Instant;

use chrono::{DateTime, Utc};
use relaybox::Envelope;
use sqlx::{PgPool, Row, SqlitePool, postgres::PgRow, sqlite::SqliteRow};

use crate::{
    client::Client,
    event::{Columns, columns},
    support::topic::Topic,
};

/// As many as a relay reads at once by default.
const BATCH: i64 = 500;

/// The columns that the library reads.
const READ: &str = "SELECT seq, event_id, aggregate_type, aggregate_id, event_name, event_version, \
     occurred_at, content_type, partition_key, source, correlation_id, causation_id, user_id, \
     traceparent, tracestate, headers, payload FROM outbox_events WHERE seq > $1 ORDER BY seq LIMIT $2";

/// The loop itself, the same for any database of sqlx's.
macro_rules! drain {
    ($pool:expr, $topic:expr, $events:expr, $time:expr) => {{
        let (pool, topic) = ($pool, $topic);
        for prepare in [
            "CREATE TABLE IF NOT EXISTS bare_cursor (seq bigint NOT NULL)",
            "DELETE FROM bare_cursor",
            "INSERT INTO bare_cursor VALUES (0)",
        ] {
            sqlx::query(prepare).execute(pool).await.unwrap();
        }
        let client = Client::connect(topic.brokers(), 0).await;
        let since = Instant::now();
        let mut position = 0_i64;
        loop {
            let query = sqlx::query(READ).bind(position).bind(BATCH);
            let rows = query.fetch_all(pool).await.unwrap();
            let Some(last) = rows.last() else { break };
            position = last.get(0);
            for row in &rows {
                client.send(topic.name(), &columns!(row, $time), 0);
            }
            let cursor = sqlx::query("UPDATE bare_cursor SET seq = $1").bind(position);
            cursor.execute(pool).await.unwrap();
        }
        client.acknowledged($events).await;
        since.elapsed().as_secs_f64()
    }};
}

/// Drains an outbox on Postgres; gives the seconds until all is acknowledged.
pub(crate) async fn postgres(pool: &PgPool, topic: &Topic, events: u64) -> f64 {
    let time = |row: &PgRow, at: usize| row.get::<DateTime<Utc>, _>(at);
    drain!(pool, topic, events, time)
}

/// Drains an outbox on SQLite; gives the seconds until all is acknowledged.
pub(crate) async fn sqlite(pool: &SqlitePool, topic: &Topic, events: u64) -> f64 {
    let time =
        |row: &SqliteRow, at: usize| DateTime::<Utc>::from_timestamp_micros(row.get(at)).unwrap();
    drain!(pool, topic, events, time)
}

/// Sends what is in memory; gives the seconds until all is acknowledged.
pub(crate) async fn memory(envelopes: &[Envelope], topic: &Topic) -> f64 {
    let client = Client::connect(topic.brokers(), 0).await;
    let since = Instant::now();
    for envelope in envelopes {
        client.send(topic.name(), &Columns::of(envelope), 0);
    }
    client.acknowledged(envelopes.len() as u64).await;
    since.elapsed().as_secs_f64()
}
