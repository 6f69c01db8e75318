//! The bus, the source, the topology and the redrive on a real broker, when RELAYBOX_RABBITMQ_URL and its
//! sisters are set (`scripts/services up rabbitmq`).

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod bus;
mod conformance;
mod consumer;
mod crashes;
mod failures;
mod redrive;
mod retry;
mod security;
mod source;
mod support;
mod topology;
