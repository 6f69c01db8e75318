//! Writers' schemas by id, from a registry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use relaybox_avro::{AvroCodec, EventSchema, SchemaSource, WriterSchemas};
use relaybox_core::{Codec, Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use crate::{
    any::Any,
    encoding::{joined, long},
    events::{decode, decode_as, happened},
};

const WRITER: &str = r#"{"type": "record", "name": "R", "fields": [
    {"name": "id", "type": "int"}, {"name": "gone", "type": "int"}]}"#;
const READER: &str = r#"{"type": "record", "name": "R", "fields": [
    {"name": "id", "type": "long"}, {"name": "new", "type": "int", "default": 9}]}"#;

/// A registry that answers when it is let, and counts.
#[derive(Clone)]
struct Registry {
    asked: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
    answer: fn(u32) -> Result<String>,
}

impl Registry {
    fn new(answer: fn(u32) -> Result<String>) -> Self {
        Self { asked: Arc::default(), answers: Arc::new(Semaphore::new(1_000)), answer }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn codec(&self) -> AvroCodec {
        let builder = AvroCodec::builder().schema_text(happened(), READER).unwrap();
        builder.registry(self.clone()).build()
    }
}

#[async_trait]
impl SchemaSource for Registry {
    async fn schema_by_id(&self, id: u32) -> Result<String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        (self.answer)(id)
    }
}

fn framed(id: u32) -> Vec<u8> {
    joined([vec![0], id.to_be_bytes().to_vec(), long(7), long(8)])
}

fn read(codec: &AvroCodec, payload: &[u8]) -> Result<Any> {
    decode_as(codec, "application/avro", payload)
}

fn known(id: u32) -> Result<String> {
    if id == 258 {
        Ok(WRITER.to_owned())
    } else {
        Err(Error::new(ErrorKind::Decode, "fetch a schema").detail("there is none"))
    }
}

#[tokio::test]
async fn a_framed_payload_is_read_with_its_writers_schema() {
    let registry = Registry::new(known);
    let codec = registry.codec();
    let payload = framed(258);
    codec.prepare(&payload).unwrap().await.unwrap();
    let any = read(&codec, &payload).unwrap();
    assert_eq!((any.field("id"), any.field("new")), (&Any::Int(7), &Any::Int(9)));
    assert!(codec.prepare(&payload).is_none(), "it is here");
    assert_eq!(registry.asked(), 1);
}

#[tokio::test]
async fn all_who_wait_for_an_id_share_one_request() {
    let registry = Registry::new(known);
    registry.answers.forget_permits(1_000);
    let codec = registry.codec();
    let waiting: Vec<_> = (0..50).map(|_| codec.prepare(&framed(258)).unwrap()).collect();
    let waiting = tokio::spawn(futures::future::join_all(waiting));
    while registry.asked() == 0 {
        tokio::task::yield_now().await;
    }
    registry.answers.add_permits(1_000);
    assert!(waiting.await.unwrap().into_iter().all(|done| done.is_ok()));
    assert_eq!(registry.asked(), 1);
}

#[tokio::test]
async fn a_request_that_was_dropped_is_made_again() {
    let registry = Registry::new(known);
    registry.answers.forget_permits(1_000);
    let codec = registry.codec();
    let mut first = codec.prepare(&framed(258)).unwrap();
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    registry.answers.add_permits(1);
    codec.prepare(&framed(258)).unwrap().await.unwrap();
    assert_eq!(registry.asked(), 2);
}

#[tokio::test]
async fn an_id_that_the_registry_does_not_know_is_a_permanent_error() {
    let registry = Registry::new(known);
    let codec = registry.codec();
    codec.prepare(&framed(1)).unwrap().await.unwrap();
    let error = read(&codec, &framed(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("there is none"), "{error}");
    assert!(codec.prepare(&framed(1)).is_none(), "not asked for every event");
    assert_eq!(registry.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_is_asked_for_again_after_a_while() {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let registry =
        Registry::new(|_| if KNOWN.load(Ordering::SeqCst) == 0 { known(1) } else { known(258) });
    let codec = registry.codec();
    codec.prepare(&framed(1)).unwrap().await.unwrap();
    read(&codec, &framed(1)).unwrap_err();
    KNOWN.store(1, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(11)).await;
    codec.prepare(&framed(1)).unwrap().await.unwrap();
    read(&codec, &framed(1)).unwrap();
}

#[tokio::test]
async fn a_registry_that_is_down_is_asked_again() {
    static DOWN: AtomicUsize = AtomicUsize::new(0);
    let registry = Registry::new(|id| match DOWN.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Error::new(ErrorKind::Unavailable, "fetch a schema")),
        1 => Err(Error::new(ErrorKind::Timeout, "fetch a schema")),
        // Neither of the surroundings nor permanent: nothing may be given up on for it.
        2 => Err(Error::new(ErrorKind::Other, "fetch a schema")),
        _ => known(id),
    });
    let codec = registry.codec();
    for kind in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Unavailable] {
        let error = codec.prepare(&framed(258)).unwrap().await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.is_infrastructure());
    }
    let error = read(&codec, &framed(258)).unwrap_err();
    assert!(error.is_infrastructure(), "not prepared is not wrong");
    codec.prepare(&framed(258)).unwrap().await.unwrap();
    read(&codec, &framed(258)).unwrap();
}

#[tokio::test]
async fn a_schema_that_is_none_is_a_permanent_error() {
    let codec = Registry::new(|_| Ok("{".repeat(1_000))).codec();
    codec.prepare(&framed(258)).unwrap().await.unwrap();
    assert_eq!(read(&codec, &framed(258)).unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn a_datum_that_begins_like_a_frame_is_read_all_the_same() {
    // Five bytes and more, the first of them zero.
    let padded = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": "int"}, {"name": "text", "type": "string"}]}"#;
    let datum = joined([long(0), crate::encoding::bytes(b"later")]);
    let codec = AvroCodec::builder()
        .schema_text(happened(), READER)
        .unwrap()
        .writer(EventSchema::parse(padded).unwrap())
        .registry(Registry::new(known))
        .build();
    codec.prepare(&datum).unwrap().await.unwrap();
    let any: Any = decode(&codec, padded, &datum).unwrap();
    assert_eq!(any.field("id"), &Any::Int(0));
}

#[test]
fn without_a_registry_nothing_is_prepared_and_a_frame_is_an_error() {
    let codec = AvroCodec::builder().schema_text(happened(), READER).unwrap().build();
    assert!(codec.prepare(&framed(258)).is_none());
    assert_eq!(read(&codec, &framed(258)).unwrap_err().kind(), ErrorKind::Decode);
    for short in [&[][..], &[0], &[0, 0, 0, 0], &[1, 0, 0, 0, 0, 0]] {
        assert!(codec.prepare(short).is_none());
        assert_eq!(read(&codec, short).unwrap_err().kind(), ErrorKind::Decode);
    }
}

#[test]
fn writers_schemas_are_bounded_and_shared() {
    let writers = WriterSchemas::with_capacity(2);
    let clone = writers.clone();
    for id in 1..=3 {
        writers.insert(id, EventSchema::parse(WRITER).unwrap());
    }
    assert_eq!(clone.len(), 2);
    assert!(clone.get(1).is_none() && clone.get(2).is_some() && clone.get(3).is_some());

    let many = WriterSchemas::new();
    for id in 0..100 {
        let text = format!(r#"{{"type": "string", "doc": "{}"}}"#, "x".repeat(500_000));
        many.insert(id, EventSchema::parse(text).unwrap());
    }
    assert!(many.get(99).is_some());
    assert_eq!(many.len(), (32 << 20) / 500_030, "of the first there is no room");

    let codec = AvroCodec::builder().schema_text(happened(), READER).unwrap();
    let codec = codec.writers(writers).build();
    read(&codec, &framed(3)).unwrap();
}

/// What it says of its defaults is no matter of reading what was written.
#[tokio::test]
async fn a_writers_schema_with_a_wrong_default_is_read_all_the_same() {
    const WRITER: &str = r#"{"type": "record", "name": "R", "fields": [
        {"name": "it", "type": "int", "default": "x"}]}"#;
    EventSchema::parse(WRITER).unwrap_err();
    let reader = r#"{"type": "record", "name": "R", "fields": [{"name": "it", "type": "int"}]}"#;
    let codec = AvroCodec::builder()
        .schema_text(happened(), reader)
        .unwrap()
        .registry(Registry::new(|_| Ok(WRITER.to_owned())))
        .build();
    let payload = [0, 0, 0, 0, 7, 14];
    codec.prepare(&payload).unwrap().await.unwrap();
    let any: Any = decode_as(&codec, "application/avro", &payload).unwrap();
    assert_eq!(any.field("it"), &Any::Int(7));
}
