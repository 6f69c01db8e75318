//! Older versions of an event as Avro: handlers see the newest, whatever was written.

use std::{sync::Arc, time::Duration};

use apache_avro::AvroSchema;
use relaybox_avro::AvroCodec;
use relaybox_core::{
    CancellationToken, Consumer, ConsumerName, DomainEvent, Envelope, EventHandler, HandlerError,
    Outbox, RetryPolicy, TopicName, async_trait, cloudevents,
    memory::{MemoryBus, MemorySource, MemoryStore, MemoryTx, StoredRecord},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, AvroSchema, DomainEvent)]
#[event(aggregate = "file", name = "file.signed", version = 1)]
struct SignedV1 {
    #[event(aggregate_id)]
    file: String,
    /// What JSON in between could not carry.
    #[serde(with = "apache_avro::serde::bytes")]
    #[avro(with)]
    signature: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize, AvroSchema, DomainEvent)]
#[event(aggregate = "file", name = "file.signed", version = 2)]
struct SignedV2 {
    #[event(aggregate_id)]
    file: String,
    #[serde(with = "apache_avro::serde::bytes")]
    #[avro(with)]
    signature: Vec<u8>,
    signer: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, AvroSchema, DomainEvent)]
#[event(aggregate = "file", name = "file.signed", version = 3)]
struct Signed {
    #[event(aggregate_id)]
    file: String,
    strength: i64,
    signer: String,
}

#[derive(Debug, Serialize, Deserialize, AvroSchema, DomainEvent)]
#[event(aggregate = "file", name = "file.signed", version = 4)]
struct SignedV4 {
    #[event(aggregate_id)]
    file: String,
}

fn name_signer(old: SignedV1) -> Result<SignedV2, HandlerError> {
    Ok(SignedV2 { file: old.file, signature: old.signature, signer: None })
}

fn measure(old: SignedV2) -> Result<Signed, HandlerError> {
    let signer = old.signer.unwrap_or_else(|| "nobody".to_owned());
    Ok(Signed { file: old.file, strength: i64::try_from(old.signature.len())?, signer })
}

struct Note;

#[async_trait]
impl EventHandler<Signed, MemoryTx> for Note {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Signed,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        let version = envelope.event_type.version();
        tx.put(&event.file, format!("v{version} {} {}", event.strength, event.signer));
        Ok(())
    }
}

fn topic() -> TopicName {
    TopicName::new("file-events.v1").unwrap()
}

fn send<E: DomainEvent + Serialize>(bus: &MemoryBus, codec: &AvroCodec, event: &E) {
    let outbox = Outbox::builder(MemoryStore::new()).codec(codec.clone()).build();
    let envelope = outbox.envelope(event).unwrap();
    let mut headers = Vec::new();
    cloudevents::headers(&envelope, |name, value| {
        headers.push((name.into(), bytes::Bytes::copy_from_slice(value)));
    });
    let key = bytes::Bytes::from(envelope.key().as_str().to_owned());
    bus.append(&topic(), StoredRecord::new(Some(key), Some(envelope.payload), headers));
}

#[tokio::test(start_paused = true)]
async fn handlers_see_only_the_newest_version_of_an_avro_event() {
    let writer = AvroCodec::builder()
        .schema::<SignedV1>()
        .and_then(|builder| builder.schema::<SignedV2>())
        .and_then(|builder| builder.schema::<Signed>())
        .and_then(|builder| builder.schema::<SignedV4>())
        .unwrap()
        .build();
    let bus = MemoryBus::new();
    let file = |name: &str| name.to_owned();
    send(&bus, &writer, &SignedV1 { file: file("one"), signature: vec![0, 0xff, 0x80] });
    let signer = Some("ada".to_owned());
    send(&bus, &writer, &SignedV2 { file: file("two"), signature: vec![7; 70], signer });
    send(&bus, &writer, &SignedV4 { file: file("four") });
    send(&bus, &writer, &Signed { file: file("three"), strength: 9, signer: "eve".to_owned() });

    let store = MemoryStore::new();
    let source = MemorySource::new(&bus, ConsumerName::new("files").unwrap(), vec![topic()]);
    let consumer = Consumer::builder("files", source, store.clone())
        .codec(writer)
        .on::<Signed, _>(Note)
        .upcast(name_signer)
        .upcast(measure)
        .retry(RetryPolicy::default().base(Duration::from_millis(5)))
        .build()
        .unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(consumer.run(shutdown.clone()));
    let dead = Arc::new(TopicName::new("file-events.v1.dlq").unwrap());
    while store.values().len() < 3 || bus.records(&dead).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let seen = |file| store.get(file).unwrap();
    assert_eq!(seen("one"), "v1 3 nobody");
    assert_eq!(seen("two"), "v2 70 ada");
    assert_eq!(seen("three"), "v3 9 eve");
    // Newer than every handler and step: never a handler's.
    let dead = bus.records(&dead);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("dlq-error-kind").unwrap(), b"unsupported_version");
}
