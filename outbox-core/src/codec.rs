//! Turning a typed event into bytes and back.

use std::borrow::Cow;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Envelope, Error, ErrorKind, EventType, Result};

/// Turns typed events into bytes and back.
///
/// # Contract
/// - [`decode`](Self::decode) of what [`encode`](Self::encode) wrote gives an equal value, also when a
///   [`Framing`](crate::Framing) of its own was between them.
/// - Neither panics on any input; hostile bytes end in [`ErrorKind::Decode`], memory and stack bounded.
/// - A codec decodes only what has a content type of its own.
/// - No I/O in either: `encode` runs inside the user's transaction, `decode` inside the consumer's.
///   What decoding needs from elsewhere, [`prepare`](Self::prepare) fetches before that begins.
pub trait Codec: Clone + Send + Sync + 'static {
    /// Turns a value into bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] when the value has no such form.
    fn encode<T: Serialize>(&self, event_type: &EventType, value: &T) -> Result<Encoded>;

    /// Turns an envelope's payload into a value of its event type.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is not one, or has another content type.
    fn decode<T: DeserializeOwned>(&self, envelope: &Envelope) -> Result<T>;

    /// Fetches what [`decode`](Self::decode) will need for this payload: a writer's schema, say. `None`
    /// when everything is there. The consumer calls it before it begins a transaction.
    ///
    /// # Errors
    /// Of the surroundings ([`Error::is_infrastructure`]): it is called again later, and no attempt is
    /// charged. Any other: the event can't be decoded.
    fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>> {
        let _ = payload;
        None
    }
}

/// An encoded value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encoded {
    /// The media type of the payload: `application/json`.
    pub content_type: Cow<'static, str>,
    /// The bytes.
    pub payload: Bytes,
}

impl Encoded {
    /// Codecs call this.
    #[must_use]
    pub fn new(content_type: impl Into<Cow<'static, str>>, payload: impl Into<Bytes>) -> Self {
        Self { content_type: content_type.into(), payload: payload.into() }
    }
}

/// Without the payload, which is the user's data.
impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoded")
            .field("content_type", &self.content_type)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// JSON, the default: readable by anyone, in any language.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct JsonCodec;

const JSON: &str = "application/json";

impl Codec for JsonCodec {
    fn encode<T: Serialize>(&self, event_type: &EventType, value: &T) -> Result<Encoded> {
        serde_json::to_vec(value).map(|json| Encoded::new(JSON, json)).map_err(|source| {
            Error::new(ErrorKind::Encode, "encode an event")
                .detail(format!("{event_type} has no JSON form"))
                .caused_by(source)
        })
    }

    fn decode<T: DeserializeOwned>(&self, envelope: &Envelope) -> Result<T> {
        if envelope.content_type != JSON {
            return Err(Error::new(ErrorKind::Decode, "decode an event")
                .detail(format!("the payload of a {} is not {JSON}", envelope.event_type)));
        }
        serde_json::from_slice(&envelope.payload).map_err(|source| {
            // serde's message quotes the value it stumbled over; say where, not what.
            let place = format!("line {} column {}", source.line(), source.column());
            Error::new(ErrorKind::Decode, "decode an event").detail(format!(
                "the payload is not a {}: {:?} error at {place}",
                envelope.event_type,
                source.classify()
            ))
        })
    }
}
