//! What the relay does on this machine, against loops without this library.
//!
//! `cargo bench --bench relay` measures every row: those of the embedded stores and buses always, the
//! others when `RELAYBOX_POSTGRES_URL` and `RELAYBOX_KAFKA_BROKERS` are set (`scripts/services up`).
//! `-- ROW` selects the row of that name, or rows by a part of their names, `-- --json` prints one JSON object a line,
//! `-- --help` tells the rest.
//!
//! The *bare* figure is the limit: a loop without this library that reads the same columns of the same
//! rows with sqlx, in order, and hands the same records to rdkafka with the client settings of
//! [`KafkaBus`](relaybox::kafka::KafkaBus), one cursor update a batch, no checks. The two alternate;
//! figures are medians of the rounds. docs/performance.md says what each row means.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod bare;
mod child;
mod client;
mod event;
mod load;
mod observed;
mod outbox;
mod process;
mod records;
mod relay;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    rows::ROWS,
    support::{bench::Bench, options::Options},
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if options.child {
        return child::run().await;
    }
    Bench::new(options).run(&ROWS).await
}
