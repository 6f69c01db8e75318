//! The rows: one measurement each, by name.

mod constant;
mod cost;
mod drain;
mod embedded;
mod enqueue;
mod idle;
mod idle_writer;
mod latency;
mod stats;
mod stranger;

use std::num::NonZero;

use crate::support::{
    bench::{Bench, Row},
    options::Options,
};

/// All of them, in the order in which they are measured.
pub(crate) const ROWS: [Row; 13] = [
    Row::on_servers("drain", |bench| Box::pin(drain::measure(bench))),
    Row::on_servers("drain-constant", |bench| Box::pin(constant::measure(bench))),
    Row::on_servers("latency", |bench| Box::pin(latency::measure(bench))),
    Row::on_servers("latency-lone", |bench| Box::pin(latency::measure_lone(bench))),
    Row::on_servers("idle", |bench| Box::pin(idle::measure(bench))),
    Row::on_servers("cost", |bench| Box::pin(cost::measure(bench))),
    Row::on_servers("enqueue", |bench| Box::pin(enqueue::measure(bench))),
    Row::on_servers("stats", |bench| Box::pin(stats::measure(bench))),
    Row::on_servers("stranger", |bench| Box::pin(stranger::measure(bench))),
    Row::on_servers("idle-writer", |bench| Box::pin(idle_writer::measure(bench))),
    Row::embedded("drain-sqlite-mock", |bench| Box::pin(embedded::sqlite_to_mock(bench))),
    Row::embedded("drain-memory-mock", |bench| Box::pin(embedded::memory_to_mock(bench))),
    Row::embedded("drain-memory-memory", |bench| Box::pin(embedded::memory_to_memory(bench))),
];

impl Options {
    /// How long a row lasts that is measured by time.
    fn seconds(&self, default: u64) -> u64 {
        self.seconds.map_or(default, NonZero::get)
    }
}
