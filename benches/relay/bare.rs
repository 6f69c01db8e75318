//! The limit: a loop without this library, from Postgres to Kafka.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use rdkafka::{
    ClientConfig, ClientContext,
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use relaybox::{Envelope, cloudevents};
use sqlx::{PgPool, Row};

const BATCH: i64 = 500;

/// Counts what the broker has acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<AtomicU64>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "a record was not acknowledged");
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Reads all rows in order, sends them, and moves a cursor once a batch; gives the seconds.
pub(crate) async fn drain(pool: &PgPool, brokers: &str, topic: &str, events: u64) -> f64 {
    sqlx::query("CREATE TABLE IF NOT EXISTS bare_cursor (seq bigint NOT NULL)")
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("DELETE FROM bare_cursor").execute(pool).await.unwrap();
    sqlx::query("INSERT INTO bare_cursor VALUES (0)").execute(pool).await.unwrap();
    let acknowledged = Acknowledged::default();
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .create_with_context(acknowledged.clone())
        .unwrap();
    let since = Instant::now();
    let mut position = 0_i64;
    loop {
        let rows = sqlx::query(
            "SELECT seq, event_id, aggregate_type, aggregate_id, event_name, event_version, occurred_at, \
             content_type, source, correlation_id, payload FROM outbox_events WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(position)
        .bind(BATCH)
        .fetch_all(pool)
        .await
        .unwrap();
        let Some(last) = rows.last() else { break };
        position = last.get(0);
        for row in &rows {
            send(&producer, topic, &envelope(row));
        }
        sqlx::query("UPDATE bare_cursor SET seq = $1").bind(position).execute(pool).await.unwrap();
    }
    while acknowledged.0.load(Ordering::Acquire) < events {
        tokio::time::sleep(std::time::Duration::from_micros(200)).await;
    }
    let took = since.elapsed().as_secs_f64();
    producer.flush(std::time::Duration::from_secs(1)).unwrap();
    took
}

/// The headers are the library's, so that both send the same bytes.
fn envelope(row: &sqlx::postgres::PgRow) -> Envelope {
    let name: String = row.get(4);
    let version: i32 = row.get(5);
    let mut envelope = Envelope::new(
        relaybox::EventType::new(name, u16::try_from(version).unwrap()).unwrap(),
        relaybox::AggregateType::new(row.get::<String, _>(2)).unwrap(),
        relaybox::AggregateId::new(row.get::<String, _>(3)).unwrap(),
        row.get::<Vec<u8>, _>(10),
    );
    envelope.event_id = relaybox::EventId::from_uuid(row.get(1));
    envelope.occurred_at = row.get(6);
    envelope.metadata.source = relaybox::Label::new(row.get::<String, _>(8)).unwrap();
    let correlation: Option<String> = row.get(9);
    envelope.metadata.correlation_id = correlation.map(|id| relaybox::Label::new(id).unwrap());
    envelope
}

fn send(producer: &ThreadedProducer<Acknowledged>, topic: &str, envelope: &Envelope) {
    let mut headers = Some(OwnedHeaders::new_with_capacity(12));
    cloudevents::headers(envelope, |key, value| {
        let known = headers.take().unwrap();
        headers = Some(known.insert(Header { key, value: Some(value) }));
    });
    let mut record = BaseRecord::to(topic)
        .key(envelope.key().as_str())
        .payload(&envelope.payload[..])
        .headers(headers.unwrap());
    loop {
        match producer.send(record) {
            Ok(()) => return,
            // The queue is full: the broker is the limit.
            Err((_, refused)) => record = refused,
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
