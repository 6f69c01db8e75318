//! The client, the framing and the whole chain, on a real registry and a real Kafka when
//! RELAYBOX_REGISTRY_URL and RELAYBOX_KAFKA_BROKERS are set (`scripts/services up registry kafka`), and
//! what goes over the wire, on a small server of our own. Python stands for other languages, when
//! RELAYBOX_PYTHON names one with Confluent's client.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod chain;
mod client;
mod framing;
mod python;
mod support;
mod wire;
