//! The promises of an outbox: [`OutboxStore`], [`OutboxReader`], [`OutboxWriter`] and
//! [`DeadLetterStore`](relaybox_core::DeadLetterStore).
//!
//! [`OutboxStore`]: relaybox_core::OutboxStore
//! [`OutboxReader`]: relaybox_core::OutboxReader
//! [`OutboxWriter`]: relaybox_core::OutboxWriter

pub mod dead_letters;
pub mod discarding;
mod fixture;
pub mod late_commits;
pub mod lease;
pub mod order;
pub mod reading;
pub mod redrive;
pub mod settling;
pub mod stats;
pub mod writing;

pub(crate) use self::fixture::{Fixture, Reader, TTL, ok, on_store, read_up_to};
