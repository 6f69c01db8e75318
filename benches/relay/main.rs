//! How fast the relay drains a backlog, against a loop without this library.
//!
//! `cargo bench --bench relay` measures the embedded stores and buses, and the real servers when
//! `RELAYBOX_POSTGRES_URL` and `RELAYBOX_KAFKA_BROKERS` are set. `-- ROW` selects a row by name,
//! `-- --json` prints one JSON object a line, `-- --events N` sets the size of the backlog.
//!
//! The *bare* figure is the limit: it reads the same rows with sqlx in order and hands the same records
//! to rdkafka with the same settings, one cursor update a batch, no checks. The two alternate; the
//! figures are medians of three.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod bare;
mod memory;
mod postgres;
mod report;

use report::{Options, Row};

#[tokio::main]
async fn main() {
    let options = Options::parse();
    if options.selects("drain-memory-memory") {
        memory::drain(&options).await;
    }
    let servers = (std::env::var("RELAYBOX_POSTGRES_URL"), std::env::var("RELAYBOX_KAFKA_BROKERS"));
    if options.selects("drain-postgres-kafka") {
        match servers {
            (Ok(postgres), Ok(kafka)) => postgres::drain(&options, &postgres, &kafka).await,
            _ => eprintln!("drain-postgres-kafka needs servers: see scripts/services"),
        }
    }
}
