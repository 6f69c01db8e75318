//! The codec at its edges.

use apache_avro::AvroSchema;
use relaybox_avro::{AvroCodec, EventSchema};
use relaybox_core::{
    Codec, DomainEvent, ErrorKind, EventType, Outbox, SchemaStore, memory::MemoryStore,
};
use serde::{Deserialize, Serialize};

use crate::events::{
    SESSION_CREATED, SessionCreated, codec_of, decode, decode_as, envelope, happened, reader_of,
};

#[derive(Debug, PartialEq, Serialize, Deserialize, AvroSchema, DomainEvent)]
#[event(aggregate = "session", name = "session.ended", version = 1)]
#[avro(namespace = "com.acme")]
struct SessionEnded {
    #[event(aggregate_id)]
    session_id: String,
    reason: Option<Reason>,
    minutes: i32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, AvroSchema)]
enum Reason {
    LoggedOut,
    Expired,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "cart")]
enum CartEvent {
    #[event(name = "cart.opened", version = 1)]
    Opened {
        #[event(aggregate_id)]
        cart: String,
    },
    #[event(name = "cart.emptied", version = 1)]
    Emptied {
        #[event(aggregate_id)]
        cart: String,
        items: i32,
    },
}

const CART_EVENT: &str = r#"[
    {"type": "record", "name": "Opened", "fields": [{"name": "cart", "type": "string"}]},
    {"type": "record", "name": "Emptied", "fields": [
        {"name": "cart", "type": "string"}, {"name": "items", "type": "int"}]}]"#;

#[test]
fn a_schema_is_derived_from_the_event() {
    let codec = AvroCodec::builder().schema::<SessionEnded>().unwrap().build();
    let event =
        SessionEnded { session_id: "s-7".into(), reason: Some(Reason::Expired), minutes: 30 };
    let encoded = codec.encode(&event.event_type(), &event).unwrap();
    assert_eq!(encoded.payload, [b"\x06s-7".as_slice(), &[2, 2, 60]].concat());
    let schema = codec.schema(&event.event_type()).unwrap();
    assert_eq!(schema.name(), Some("com.acme.SessionEnded"));
    assert_eq!(
        encoded.content_type,
        format!("application/avro; fingerprint={}", schema.fingerprint())
    );
}

#[test]
fn an_enum_of_events_has_a_union_of_records() {
    let both = AvroCodec::builder().schema_of::<CartEvent>(CART_EVENT).unwrap().build();
    assert!(CartEvent::EVENT_TYPES.iter().all(|event_type| both.schema(event_type).is_some()));
    let codec = codec_of(CART_EVENT);
    let events = [
        CartEvent::Opened { cart: "c-1".into() },
        CartEvent::Emptied { cart: "c-1".into(), items: 3 },
    ];
    for event in events {
        let encoded = codec.encode(&happened(), &event).unwrap();
        assert_eq!(decode::<CartEvent>(&codec, CART_EVENT, &encoded.payload).unwrap(), event);
    }
}

#[test]
fn uuids_as_bytes_and_as_strings_can_not_be_mixed() {
    let of = |kinds: [&str; 2]| {
        let fields = kinds.map(|kind| {
            format!(
                r#"{{"name": "u{}", "type": {{"type": "{kind}", "logicalType": "uuid"}}}}"#,
                kind.len()
            )
        });
        let schema =
            format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, fields.join(","));
        AvroCodec::builder().schema_text(happened(), schema).map(drop)
    };
    assert_eq!(of(["string", "bytes"]).unwrap_err().kind(), ErrorKind::Decode);
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}}]}"#;
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct R {
        id: uuid::Uuid,
    }
    let codec = codec_of(schema);
    let event = R { id: uuid::Uuid::from_u128(7) };
    let encoded = codec.encode(&happened(), &event).unwrap();
    assert_eq!(encoded.payload, 7_u128.to_be_bytes()[..]);
    assert_eq!(decode::<R>(&codec, schema, &encoded.payload).unwrap(), event);
}

#[test]
fn a_value_that_does_not_fit_its_schema_is_an_encode_error_that_names_the_field() {
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}"#;
    #[derive(Serialize)]
    struct Wrong {
        id: u64,
    }
    #[derive(Serialize)]
    struct Other {
        name: i64,
    }
    let codec = codec_of(schema);
    let error = codec.encode(&happened(), &Wrong { id: 7 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(
        error.to_string().contains("field \"id\"") && error.to_string().contains("u64"),
        "{error}"
    );
    let error = codec.encode(&happened(), &Other { name: 7 }).unwrap_err();
    assert!(error.to_string().contains("no field \"name\""), "{error}");
}

#[test]
fn an_event_type_without_a_schema_is_an_error_on_both_sides() {
    let codec = AvroCodec::builder().build();
    assert_eq!(codec.encode(&happened(), &()).unwrap_err().kind(), ErrorKind::Encode);
    let error = codec.decode::<()>(&envelope("application/avro", &[0; 9])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[test]
fn an_event_type_has_one_schema() {
    let builder = AvroCodec::builder().schema_text(happened(), r#""string""#).unwrap();
    let error = builder.schema_text(happened(), r#""string""#).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn another_content_type_is_a_decode_error() {
    let codec = codec_of(r#""string""#);
    for content_type in [
        "application/json",
        "application/avro+json",
        "application/avro; fingerprint=abc",
        "application/avro;fingerprint",
        "",
    ] {
        let error = decode_as::<String>(&codec, content_type, &[2, b'a']).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{content_type}");
    }
}

#[test]
fn a_schema_that_nobody_gave_is_named_by_its_fingerprint() {
    let stranger = r#"{"type": "string", "doc": "from elsewhere"}"#;
    let error = decode::<String>(&codec_of(r#""string""#), stranger, &[2, b'a']).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    let fingerprint = EventSchema::parse(stranger).unwrap().fingerprint().to_string();
    assert!(error.to_string().contains(&fingerprint), "{error}");
    let read: String = decode(&reader_of(r#""string""#, stranger), stranger, &[2, b'a']).unwrap();
    assert_eq!(read, "a");
}

#[test]
fn schemas_that_differ_in_a_default_only_have_different_fingerprints() {
    let of = |default| {
        let text = format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "a", "type": "int", "default": {default}}}]}}"#
        );
        EventSchema::parse(text).unwrap().fingerprint()
    };
    assert_ne!(of(1), of(2));
    assert_eq!(of(1), of(1));
}

#[tokio::test]
async fn schemas_are_stored_before_the_first_event() {
    let codec = AvroCodec::builder()
        .schema::<SessionEnded>()
        .unwrap()
        .schema_of::<SessionCreated>(SESSION_CREATED)
        .unwrap()
        .schema_text(EventType::from_static("session.created", 2), SESSION_CREATED)
        .unwrap()
        .build();
    let store = MemoryStore::new();
    codec.store_schemas(&store).await.unwrap();
    codec.store_schemas(&store).await.unwrap();
    let stored = store.schemas().await.unwrap();
    assert_eq!(stored, codec.schemas());
    assert_eq!(stored.len(), 2, "one text is one schema");
    assert!(stored.iter().any(|schema| schema.text == SESSION_CREATED && schema.format == "avro"));

    let outbox = Outbox::builder(store.clone()).codec(codec).build();
    let mut tx = store.begin();
    outbox.enqueue(&mut tx, &SessionCreated::sample()).await.unwrap();
    tx.commit();
}
