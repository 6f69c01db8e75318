//! The promises of an inbox, a [`ProcessedEventStore`](relaybox_core::ProcessedEventStore).

mod fixture;
pub mod giving_up;
pub mod marks;
pub mod purging;
pub mod starts;
pub mod transactions;

use self::fixture::{Fixture, on_inbox};
