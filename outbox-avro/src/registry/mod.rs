//! The schema registry: its client, and the framing that puts its ids before payloads.

mod answer;
mod client;
mod compatibility;
mod config;
mod endpoint;
mod framing;
mod references;
mod search;
mod subject;
mod tls;
mod transport;

/// What an error says was being done.
const CONFIGURE: &str = "configure the schema registry";

#[doc(no_inline)]
pub use relaybox_core::Secret;

pub use self::{
    client::{RegisteredSchema, SchemaRegistry},
    compatibility::CompatibilityVerdict,
    config::RegistryConfig,
    framing::RegistryFraming,
    subject::SubjectStrategy,
    tls::Tls,
};
