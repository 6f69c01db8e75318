//! What the relay does on this machine, against loops without this library.
//!
//! `cargo bench --bench relay` measures every row: those of the embedded stores and buses always, the
//! others when `RELAYBOX_POSTGRES_URL` and `RELAYBOX_KAFKA_BROKERS` are set (`scripts/services up`).
//! `-- ROW` selects rows by a part of their names, `-- --json` prints one JSON object a line,
//! `-- --help` tells the rest.
//!
//! The *bare* figure is the limit: a loop without this library that reads the same columns of the same
//! rows with sqlx, in order, and hands the same records to rdkafka with the client settings of
//! [`KafkaBus`](relaybox::kafka::KafkaBus), one cursor update a batch, no checks. The two alternate;
//! figures are medians of the rounds. docs/performance.md says what each row means.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod child;
mod rows;
mod support;

use std::{panic::AssertUnwindSafe, process::ExitCode};

use clap::Parser;
use futures::FutureExt;

use crate::{
    rows::{Bench, ROWS},
    support::{machine, options::Options},
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if options.child {
        return child::run().await;
    }
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    if options.list {
        println!("{}", names.join("\n"));
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = options.unknown(&names) {
        eprintln!("no row is named like {unknown}; there are:\n  {}", names.join("\n  "));
        return ExitCode::from(2);
    }
    tokio::select! {
        code = measure(Bench::new(options)) => code,
        // Drops what is being measured, and with it databases, topics and processes.
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
    }
}

/// Measures the selected rows. One that fails doesn't keep the others from being measured.
async fn measure(bench: Bench) -> ExitCode {
    machine::describe(&bench).await;
    let mut code = ExitCode::SUCCESS;
    for row in ROWS.iter().filter(|row| bench.options.selects(row.name)) {
        if row.needs_servers && bench.servers.is_none() {
            eprintln!(
                "SKIPPED: {}: RELAYBOX_POSTGRES_URL and RELAYBOX_KAFKA_BROKERS are not set; \
                 see scripts/services",
                row.name
            );
        } else if AssertUnwindSafe((row.measure)(&bench)).catch_unwind().await.is_err() {
            eprintln!("FAILED: {}: see above", row.name);
            code = ExitCode::FAILURE;
        }
    }
    code
}
