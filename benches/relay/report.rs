//! What is asked for, and what is printed.

use std::io::Write;

use serde::Serialize;

/// What the command line asks for.
pub(crate) struct Options {
    json: bool,
    rows: Vec<String>,
    pub(crate) events: Option<u64>,
}

/// One measured line.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) bench: &'static str,
    pub(crate) store: &'static str,
    pub(crate) bus: &'static str,
    pub(crate) events: u64,
    pub(crate) payload_bytes: usize,
    pub(crate) events_per_s: f64,
    pub(crate) bare_events_per_s: f64,
    pub(crate) ratio: f64,
}

impl Options {
    pub(crate) fn parse() -> Self {
        let mut options = Self { json: false, rows: Vec::new(), events: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--events" => {
                    let events = arguments.next().and_then(|events| events.parse().ok());
                    options.events = Some(events.expect("--events takes a number"));
                }
                // Given by `cargo bench`.
                "--bench" => {}
                row => options.rows.push(row.to_owned()),
            }
        }
        options
    }

    pub(crate) fn selects(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| row.contains(wanted.as_str()))
    }

    /// Prints a line at once: a long run that is interrupted has shown what it measured.
    pub(crate) fn print(&self, row: &Row) {
        let mut out = std::io::stdout();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(row).unwrap()).unwrap();
        } else {
            writeln!(
                out,
                "{} {} → {}: {} events of {} bytes: {:.0} events/s, bare {:.0} events/s, ratio {:.2}",
                row.bench,
                row.store,
                row.bus,
                row.events,
                row.payload_bytes,
                row.events_per_s,
                row.bare_events_per_s,
                row.ratio
            )
            .unwrap();
        }
        out.flush().unwrap();
    }
}

/// The middle one of an odd number of figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
