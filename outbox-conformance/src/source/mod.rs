//! The promises of an [`EventSource`](relaybox_core::EventSource).

pub mod acknowledging;
pub mod dead_letters;
mod fixture;
pub mod members;
pub mod receiving;
pub mod redelivery;
pub mod releasing;
pub mod stats;

use self::fixture::{Fixture, on_source};
