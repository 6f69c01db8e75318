//! What the consumer does on this machine, against loops without this library.
//!
//! `cargo bench --bench consumer` measures every row: those of the embedded stores and brokers always, the
//! others when `RELAYBOX_POSTGRES_URL` and `RELAYBOX_KAFKA_BROKERS` are set (`scripts/services up`).
//! `-- ROW` selects the row of that name, or rows by a part of their names, `-- --json` prints one JSON object a line,
//! `-- --help` tells the rest.
//!
//! The *bare* figure is the limit: a loop without this library that reads the same topic with rdkafka and
//! the client settings of [`KafkaSource`](relaybox::kafka::KafkaSource), all partitions side by side, and
//! has the same transactions and statements: marks of a whole batch in one, then what the handler does.
//! The two alternate; figures are medians of the rounds. Each side's effects and marks are counted and
//! summed up when it is done: a figure stands for exactly one effect an event, or the row fails.
//! docs/performance.md says what each row means.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod bare;
mod child;
mod contest;
mod event;
mod handler;
mod library;
mod process;
mod progress;
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
