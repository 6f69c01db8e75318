//! The table and the JSON line at the end.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// What happened, in numbers of events.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Whose transaction was committed.
    pub(crate) committed: u64,
    /// Transactions that were rolled back.
    pub(crate) rolled_back: u64,
    /// Acknowledged by the broker, repeats included.
    pub(crate) published: u64,
    /// Taken by the consumers, repeats included.
    pub(crate) delivered: u64,
    /// Known to the inbox, and skipped.
    pub(crate) duplicates: u64,
    /// Handled.
    pub(crate) effects: u64,
    /// In the dead-letter topic.
    pub(crate) dead_lettered: u64,
    /// Promises that were not kept.
    pub(crate) violations: u64,
}

/// How many violations are told in full.
const MOST_SHOWN: usize = 20;

/// Prints the table and what was violated; with `json`, the summary as one line in its place.
pub(crate) fn print(summary: &Summary, violations: &[String], took: Duration, json: bool) {
    for violation in violations.iter().take(MOST_SHOWN) {
        eprintln!("violated: {violation}");
    }
    if violations.len() > MOST_SHOWN {
        eprintln!("violated: and {} more", violations.len() - MOST_SHOWN);
    }
    if json {
        let line = serde_json::to_string(summary).expect("numbers have a JSON form");
        println!("{line}");
        return;
    }
    println!("{}", table(summary));
    println!(
        "{} in {:.1} s: every committed event handled exactly once, no rolled-back one seen, order \
         per session kept, the poison among the dead letters",
        if violations.is_empty() { "held" } else { "NOT held" },
        took.as_secs_f64()
    );
}

fn table(summary: &Summary) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    for (name, count) in [
        ("committed", summary.committed),
        ("rolled back", summary.rolled_back),
        ("published", summary.published),
        ("delivered", summary.delivered),
        ("duplicates skipped", summary.duplicates),
        ("effects", summary.effects),
        ("dead-lettered", summary.dead_lettered),
        ("violations", summary.violations),
    ] {
        table.add_row([Cell::new(name), Cell::new(count).set_alignment(CellAlignment::Right)]);
    }
    table
}
