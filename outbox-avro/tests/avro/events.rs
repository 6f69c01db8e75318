//! The events of the tests.

use std::collections::BTreeMap;

use relaybox_avro::{AvroCodec, AvroLimits, EventSchema};
use relaybox_core::{
    AggregateId, AggregateType, Codec, DomainEvent, Envelope, Error, EventType, Result,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub(crate) const SESSION_CREATED: &str = include_str!("schemas/session_created.avsc");

/// What `schemas/session_created.avsc` describes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "session", name = "session.created", version = 1)]
pub(crate) struct SessionCreated {
    #[event(aggregate_id)]
    pub(crate) session_id: Uuid,
    pub(crate) user_id: i64,
    pub(crate) attempts: i32,
    pub(crate) trusted: bool,
    pub(crate) score: f64,
    pub(crate) ratio: f32,
    #[serde(with = "apache_avro::serde::bytes")]
    pub(crate) token: Vec<u8>,
    #[serde(with = "apache_avro::serde::fixed")]
    pub(crate) digest: [u8; 4],
    pub(crate) channel: Channel,
    pub(crate) device: Option<Device>,
    pub(crate) tags: Vec<String>,
    pub(crate) attributes: BTreeMap<String, i64>,
    pub(crate) created_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Channel {
    Web,
    Mobile,
    Api,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) os: String,
    pub(crate) paired_with: Option<Box<Device>>,
}

impl SessionCreated {
    pub(crate) fn sample() -> Self {
        let paired = Device { os: String::new(), paired_with: None };
        Self {
            session_id: "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap(),
            user_id: -9_007_199_254_740_993,
            attempts: 300,
            trusted: true,
            score: 0.1,
            ratio: -2.5,
            token: vec![0, 0xff, 0x7f],
            digest: [0xde, 0xad, 0xbe, 0xef],
            channel: Channel::Mobile,
            device: Some(Device { os: "Größe ☃".into(), paired_with: Some(Box::new(paired)) }),
            tags: vec!["a".into(), "bb".into(), String::new()],
            attributes: BTreeMap::from([("n".into(), 1 << 62)]),
            created_at: 1_709_251_199_123_456,
        }
    }
}

/// A codec that knows one schema, for `test.happened.v1`.
pub(crate) fn codec_of(schema: &str) -> AvroCodec {
    codec_within(schema, AvroLimits::default())
}

/// The same with other limits.
pub(crate) fn codec_within(schema: &str, limits: AvroLimits) -> AvroCodec {
    let builder = AvroCodec::builder().limits(limits);
    builder.schema_text(happened(), schema).unwrap().build()
}

/// A codec that reads with one schema what was written with another.
pub(crate) fn reader_of(reader: &str, writer: &str) -> AvroCodec {
    let builder = AvroCodec::builder().schema_text(happened(), reader).unwrap();
    builder.writer(EventSchema::parse(writer).unwrap()).build()
}

/// Decodes a datum that was written with `writer`.
pub(crate) fn decode<T: DeserializeOwned>(
    codec: &AvroCodec,
    writer: &str,
    datum: &[u8],
) -> Result<T> {
    let fingerprint = EventSchema::parse(writer).unwrap().fingerprint();
    decode_as(codec, format!("application/avro; fingerprint={fingerprint}"), datum)
}

/// Decodes a payload with a content type.
pub(crate) fn decode_as<T: DeserializeOwned>(
    codec: &AvroCodec,
    content_type: impl Into<std::borrow::Cow<'static, str>>,
    payload: &[u8],
) -> Result<T> {
    codec.decode(&envelope(content_type, payload))
}

pub(crate) fn envelope(
    content_type: impl Into<std::borrow::Cow<'static, str>>,
    payload: &[u8],
) -> Envelope {
    let mut envelope = Envelope::new(
        happened(),
        AggregateType::new("test").unwrap(),
        AggregateId::new("t-1").unwrap(),
        payload.to_vec(),
    );
    envelope.content_type = content_type.into();
    envelope
}

pub(crate) fn happened() -> EventType {
    EventType::from_static("test.happened", 1)
}

/// An error with its sources, as a log would show it.
pub(crate) fn shown(error: &Error) -> String {
    format!("{} {error:?}", relaybox_core::error_chain(error))
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
