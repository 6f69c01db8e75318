//! The `relaybox` binary, as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod configuration;
mod dead_letter_queue;
mod dead_letter_topic;
mod mongodb;
mod outbox;
mod postgres;
mod relay;
mod schemas;
mod support;
mod topics;
