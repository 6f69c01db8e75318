//! The rows: one measurement each, by name.

mod constant;
mod cost;
mod drain;
mod embedded;
mod enqueue;
mod idle;
mod idle_writer;
mod latency;
mod stranger;

use std::sync::OnceLock;

use futures::future::BoxFuture;

use crate::support::{load::Latency, options::Options};

/// A row of the benchmark.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) needs_servers: bool,
    pub(crate) measure: fn(&Bench) -> BoxFuture<'_, ()>,
}

/// All of them, in the order in which they are measured.
pub(crate) const ROWS: [Row; 12] = [
    on_servers("drain-postgres-kafka", |bench| Box::pin(drain::measure(bench))),
    on_servers("drain-constant", |bench| Box::pin(constant::measure(bench))),
    on_servers("latency", |bench| Box::pin(latency::measure(bench))),
    on_servers("latency-lone", |bench| Box::pin(latency::measure_lone(bench))),
    on_servers("idle", |bench| Box::pin(idle::measure(bench))),
    on_servers("cost", |bench| Box::pin(cost::measure(bench))),
    on_servers("enqueue", |bench| Box::pin(enqueue::measure(bench))),
    on_servers("stranger", |bench| Box::pin(stranger::measure(bench))),
    on_servers("idle-writer", |bench| Box::pin(idle_writer::measure(bench))),
    embedded("drain-sqlite-mock", |bench| Box::pin(embedded::sqlite_to_mock(bench))),
    embedded("drain-memory-mock", |bench| Box::pin(embedded::memory_to_mock(bench))),
    embedded("drain-memory-memory", |bench| Box::pin(embedded::memory_to_memory(bench))),
];

const POSTGRES_KAFKA: (&str, &str) = ("postgres", "kafka");

/// What the rows are measured with, and what one tells another.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) servers: Option<Servers>,
    /// What `latency` has found of the dual write.
    dual_write: OnceLock<Latency>,
}

/// The addresses of the real servers.
pub(crate) struct Servers {
    pub(crate) postgres: String,
    pub(crate) kafka: String,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let address = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
        let (postgres, kafka) =
            (address("RELAYBOX_POSTGRES_URL"), address("RELAYBOX_KAFKA_BROKERS"));
        let servers = postgres.zip(kafka).map(|(postgres, kafka)| Servers { postgres, kafka });
        Self { options, servers, dual_write: OnceLock::new() }
    }

    /// The real servers of a row that needs them.
    fn servers(&self) -> &Servers {
        self.servers.as_ref().expect("rows that need servers are skipped without them")
    }
}

const fn on_servers(name: &'static str, measure: fn(&Bench) -> BoxFuture<'_, ()>) -> Row {
    Row { name, needs_servers: true, measure }
}

const fn embedded(name: &'static str, measure: fn(&Bench) -> BoxFuture<'_, ()>) -> Row {
    Row { name, needs_servers: false, measure }
}
