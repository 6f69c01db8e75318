//! Avro payloads for [relaybox](https://docs.rs/relaybox), governed by a schema registry.
//!
//! [`AvroCodec`] encodes events with their schemas and reads them with whatever later schema a consumer
//! has. [`AvroLimits`] bound what a payload can do to the process that reads it. [`Evolution`] says
//! whether a schema may follow the earlier ones. The feature `registry` adds the client of a registry
//! with Confluent's API, and the relay's framing.
//!
//! ```
//! use apache_avro::AvroSchema;
//! use relaybox_avro::{AvroCodec, EventSchema};
//! use relaybox_core::{Codec, DomainEvent, Envelope, Outbox, memory::MemoryStore};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize, AvroSchema, DomainEvent)]
//! #[event(aggregate = "session", name = "session.created", version = 1)]
//! #[avro(namespace = "com.acme")]
//! struct SessionCreated {
//!     #[event(aggregate_id)]
//!     session_id: String,
//!     user_id: i64,
//!     device: Option<String>, // nullable, and null by default
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relaybox_core::Error> {
//! // At start: the schemas go beside the outbox, where the relay finds them.
//! let codec = AvroCodec::builder().schema::<SessionCreated>()?.build();
//! let store = MemoryStore::new();
//! codec.store_schemas(&store).await?;
//!
//! // The event is encoded in the caller's transaction; no registry is asked.
//! let outbox = Outbox::builder(store.clone()).codec(codec.clone()).build();
//! let event = SessionCreated { session_id: "s-7".into(), user_id: 42, device: None };
//! let mut tx = store.begin();
//! outbox.enqueue(&mut tx, &event).await?;
//! tx.commit();
//!
//! // A consumer reads what an earlier schema wrote.
//! let earlier = EventSchema::parse(
//!     r#"{"type": "record", "name": "SessionCreated", "namespace": "com.acme", "fields": [
//!         {"name": "session_id", "type": "string"}, {"name": "user_id", "type": "int"}]}"#,
//! )?;
//! let codec = AvroCodec::builder().schema::<SessionCreated>()?.writer(earlier.clone()).build();
//! # use relaybox_core::{AggregateId, AggregateType};
//! let mut envelope = Envelope::new(
//!     event.event_type(),
//!     AggregateType::new("session")?,
//!     AggregateId::new("s-7")?,
//!     &b"\x06s-7\x54"[..],
//! );
//! envelope.content_type = format!("application/avro; fingerprint={}", earlier.fingerprint()).into();
//! assert_eq!(codec.decode::<SessionCreated>(&envelope)?, event);
//! # Ok(()) }
//! ```
//!
//! # Rust types and schemas
//!
//! apache-avro puts values into bytes and back. These are its rules (0.22); what breaks one is an
//! [`ErrorKind::Encode`](relaybox_core::ErrorKind::Encode) at the first `enqueue`, before anything is
//! committed, so that a test that encodes one event of each type finds it.
//!
//! | Rust | schema |
//! |---|---|
//! | `i8`, `i16`, `i32`, `u8`, `u16` | `int` |
//! | `u32`, `i64` | `long` |
//! | `u64` | none that others read (a fixed of 8 bytes of apache-avro's own): use `i64` |
//! | `String`, `&str` | `string` |
//! | `Vec<u8>` with `#[serde(with = "apache_avro::serde::bytes")]` | `bytes` |
//! | `[u8; N]` with `#[serde(with = "apache_avro::serde::fixed")]` | `fixed` |
//! | `Option<T>` | a union of `null` and `T`, in either order, and nothing else |
//! | `uuid::Uuid` | `uuid` over `string`, or over `bytes` or `fixed`; one kind in a schema |
//! | `struct` | a `record` of the same name (`#[serde(rename = "…")]`) |
//! | `struct Id(T)` | with `#[serde(transparent)]`, the schema of `T` |
//! | an enum without data | an `enum` with its variants as symbols |
//! | an enum with data | a union, one branch for each variant, in their order |
//! | `Vec<T>`, maps with `String` keys | `array`, `map` |
//! | times, as `i64` | a `long` with a logical type |
//!
//! # Events as structs
//!
//! Give each event a struct of its own. Its schema is then a record, which every language can read,
//! register and evolve by itself. An enum of several events has one schema, a union of records
//! ([`AvroCodecBuilder::schema_of`]); it changes with each of them, and readers elsewhere see the union.
//! Untagged, and internally or adjacently tagged enums have no Avro form: serde finds out what they are
//! by looking ahead, and a datum says nothing of itself.
//!
//! # Limits
//!
//! See [`AvroLimits`]. A payload is gone over once with its schema before anything is made of it; what
//! is refused ends in [`ErrorKind::Decode`](relaybox_core::ErrorKind::Decode) or
//! [`TooLarge`](relaybox_core::ErrorKind::TooLarge). Schemas from elsewhere are bounded as well. No error
//! has anything of a payload in it.
//!
//! # Evolution
//!
//! See [`Evolution`]. The rules of reading are those of the
//! [specification](https://avro.apache.org/docs/1.12.0/specification/#schema-resolution), with two
//! exceptions: records with different names are read where no union has to tell them apart, because an
//! event's type says what it is; and values whose logical types say different things are refused.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod codec;
mod event_schema;
mod evolution;
mod limits;
mod model;
mod plan;
#[cfg(feature = "registry")]
mod registry;
mod writers;

pub use codec::{AvroCodec, AvroCodecBuilder};
pub use event_schema::EventSchema;
pub use evolution::{Compatibility, Evolution, Incompatibility, Incompatible};
pub use limits::AvroLimits;
#[cfg(feature = "registry")]
pub use registry::*;
pub use writers::{SchemaSource, WriterSchemas};
