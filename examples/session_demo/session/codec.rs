//! How session events are written: as JSON, or as Avro whose schemas a registry governs.
//!
//! A service has one of them and needs no enum for it; this example runs on two.

use futures::future::BoxFuture;
use relaybox::{
    Codec, Encoded, Envelope, EventType, JsonCodec, Result, SchemaStore,
    avro::{AvroCodec, RegistryConfig, RegistryFraming, SchemaRegistry},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{SessionCreated, SessionRefreshed, SessionRevoked};

/// Writes and reads session events.
#[derive(Clone)]
pub(crate) enum SessionCodec {
    Json(JsonCodec),
    Avro(AvroCodec),
}

impl SessionCodec {
    /// JSON, which needs nothing else.
    pub(crate) fn json() -> Self {
        Self::Json(JsonCodec::default())
    }

    /// Avro. Puts the schemas beside the outbox, where the relay's framing finds them.
    pub(crate) async fn avro(
        registry: &str,
        store: impl SchemaStore,
    ) -> Result<(Self, RegistryFraming)> {
        let registry = SchemaRegistry::new(RegistryConfig::new(registry))?;
        let codec = AvroCodec::builder()
            .schema_of::<SessionCreated>(include_str!("schemas/session_created.avsc"))?
            .schema_of::<SessionRefreshed>(include_str!("schemas/session_refreshed.avsc"))?
            .schema_of::<SessionRevoked>(include_str!("schemas/session_revoked.avsc"))?
            .registry(registry.clone())
            .build();
        codec.store_schemas(&store).await?;
        Ok((Self::Avro(codec), RegistryFraming::new(registry, store)))
    }
}

impl Codec for SessionCodec {
    fn encode<T: Serialize>(&self, event_type: &EventType, value: &T) -> Result<Encoded> {
        match self {
            Self::Json(codec) => codec.encode(event_type, value),
            Self::Avro(codec) => codec.encode(event_type, value),
        }
    }

    fn decode<T: DeserializeOwned>(&self, envelope: &Envelope) -> Result<T> {
        match self {
            Self::Json(codec) => codec.decode(envelope),
            Self::Avro(codec) => codec.decode(envelope),
        }
    }

    fn prepare(&self, payload: &[u8]) -> Option<BoxFuture<'static, Result<()>>> {
        match self {
            Self::Json(codec) => codec.prepare(payload),
            Self::Avro(codec) => codec.prepare(payload),
        }
    }
}
