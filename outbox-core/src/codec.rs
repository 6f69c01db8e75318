//! Turning a typed event into bytes and back.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, ErrorKind, EventType, Result};

/// Turns typed events into bytes and back.
///
/// # Contract
/// - [`decode`](Self::decode) of what [`encode`](Self::encode) wrote gives an equal value.
/// - Neither panics on any input; hostile bytes end in [`ErrorKind::Decode`], memory bounded.
/// - A codec decodes only what has its [`content_type`](Self::content_type).
/// - No I/O: `encode` runs inside the user's transaction.
pub trait Codec: Clone + Send + Sync + 'static {
    /// The media type of the bytes: `application/json`.
    fn content_type(&self) -> &'static str;

    /// Turns a value into bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] when the value has no such form.
    fn encode<T: Serialize>(&self, event_type: &EventType, value: &T) -> Result<Bytes>;

    /// Turns bytes into a value.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when they are not one.
    fn decode<T: DeserializeOwned>(&self, event_type: &EventType, bytes: &[u8]) -> Result<T>;
}

/// JSON, the default: readable by anyone, in any language.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct JsonCodec;

impl Codec for JsonCodec {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode<T: Serialize>(&self, event_type: &EventType, value: &T) -> Result<Bytes> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|source| {
            Error::new(ErrorKind::Encode, "encode an event")
                .detail(format!("{event_type} has no JSON form"))
                .caused_by(source)
        })
    }

    fn decode<T: DeserializeOwned>(&self, event_type: &EventType, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|source| {
            // serde's message quotes the value it stumbled over; say where, not what.
            let place = format!("line {} column {}", source.line(), source.column());
            Error::new(ErrorKind::Decode, "decode an event").detail(format!(
                "the payload is not a {event_type}: {:?} error at {place}",
                source.classify()
            ))
        })
    }
}
