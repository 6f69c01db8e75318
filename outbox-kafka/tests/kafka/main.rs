//! The bus, the source and the topic admin on clusters: always on librdkafka's mock, and on a real
//! broker when RELAYBOX_KAFKA_BROKERS and its sisters are set (`scripts/services up kafka`).

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod admin;
mod bus;
mod dead_letter;
mod failures;
mod first_records;
mod rebalance;
mod redrive;
mod security;
mod source;
mod stats;
mod support;
