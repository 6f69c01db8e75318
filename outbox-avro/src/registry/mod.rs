//! The schema registry: its client, and the framing that puts its ids before payloads.

mod answer;
mod client;
mod compatibility;
mod config;
mod endpoint;
mod framing;
mod references;
mod search;
mod secret;
mod subject;
mod tls;
mod transport;

/// What an error says was being done.
const CONFIGURE: &str = "configure the schema registry";

pub use self::{
    client::{RegisteredSchema, SchemaRegistry},
    compatibility::CompatibilityVerdict,
    config::RegistryConfig,
    framing::RegistryFraming,
    secret::Secret,
    subject::SubjectStrategy,
    tls::Tls,
};
