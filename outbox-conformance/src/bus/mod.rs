//! The promises of an [`EventBus`](relaybox_core::EventBus).

mod fixture;
pub mod latch;
pub mod order;
pub mod receipts;
pub mod records;
pub mod refusals;

use self::fixture::{Fixture, on_bus};
