//! What the tests on real servers share: the servers, databases and topics of one's own, an event, and
//! processes that can be killed.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test may panic")]

mod broker;
mod consumer;
mod database;
mod event;
mod kafka;
mod ledger;
mod postgres;
mod process;
mod proxy;
mod rabbitmq;
mod running;
mod stalls;
mod topic;
mod writers;

pub use self::{
    broker::{allow_write, deny_write, lift_limit, limit_bytes},
    consumer::{ConsumerOptions, Place, Planted, Poison},
    database::Database,
    event::{Changed, per_key},
    kafka::KafkaServer,
    ledger::{DEPOSIT, Deposited, Deposits, Ledger, send},
    postgres::{PostgresServer, dump_and_restore},
    process::{Process, RelayOptions},
    proxy::CommitCutter,
    rabbitmq::RabbitServer,
    running::{Running, on_bus, quick},
    stalls::Stalls,
    topic::{DeadRecord, Topic},
    writers::Writers,
};

/// The address of a real server from the environment, as `scripts/services up` prints it.
///
/// Without it the test is skipped with a loud line that `scripts/test` counts; under CI it fails.
#[must_use]
pub fn server(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{variable} is not set: CI runs every test");
        eprintln!("SKIPPED: {variable} is not set; see scripts/services");
    }
    address
}

/// Postgres and Kafka, or a skip.
#[must_use]
pub fn servers() -> Option<(String, String)> {
    Some((server("RELAYBOX_POSTGRES_URL")?, server("RELAYBOX_KAFKA_BROKERS")?))
}

/// How often a fault is made: `full` times with `RELAYBOX_LONG=1` (`scripts/test --long`), else a
/// fifth of that, at least once.
#[must_use]
pub fn share(full: u32) -> u32 {
    if std::env::var_os("RELAYBOX_LONG").is_some() { full } else { (full / 5).max(1) }
}

/// Waits for a condition, at most a minute.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited a minute for: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// A port of this machine on which nobody listens, below those that the system gives to connections.
#[must_use]
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
