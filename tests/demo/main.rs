//! The session demo as its users run it: what it prints, what it serves, how it ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod avro;
mod client;
mod command_line;
mod correlation;
mod demo;
mod http;
mod shutdown;
mod summary;
