//! The tests of `AvroCodec`, of its limits, and of evolution.

#![expect(clippy::unwrap_used, reason = "tests stop where something is not as it should be")]

mod any;
mod codec;
mod encoding;
mod events;
mod evolution;
mod fetching;
mod golden;
mod hostile;
mod hostile_schemas;
mod memory;
mod random;
mod resolution;
mod shapes;
mod versions;
