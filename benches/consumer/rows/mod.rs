//! The rows: one measurement each, by name.

mod batches;
mod embedded;
mod memory;

use crate::support::bench::{Bench, Row};

/// All of them, in the order in which they are measured.
pub(crate) const ROWS: [Row; 7] = [
    Row::on_servers("insert", |bench| Box::pin(batches::insert(bench))),
    Row::on_servers("marks-only", |bench| Box::pin(batches::marks_only(bench))),
    Row::on_servers("one-by-one", |bench| Box::pin(batches::one_by_one(bench))),
    Row::on_servers("repeats", |bench| Box::pin(batches::repeats(bench))),
    Row::on_servers("memory", |bench| Box::pin(memory::measure(bench))),
    Row::embedded("embedded-sqlite", |bench| Box::pin(embedded::sqlite(bench))),
    Row::embedded("embedded-memory", |bench| Box::pin(embedded::memory(bench))),
];
