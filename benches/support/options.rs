//! What the command line asks for.

use std::num::NonZero;

/// Measures this library against loops without it.
#[derive(Debug, clap::Parser)]
#[command(name = env!("CARGO_CRATE_NAME"), disable_version_flag = true)]
pub(crate) struct Options {
    /// Measure the rows of these names, or whose names contain one of these. Default: all.
    rows: Vec<String>,
    /// Print one JSON object a line, and nothing else, on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// How many events each round of a row has. Default: as the table of docs/performance.md says.
    #[arg(long)]
    events: Option<NonZero<u64>>,
    /// How long a row lasts that is measured by time.
    #[arg(long)]
    pub(crate) seconds: Option<NonZero<u64>>,
    /// How many rounds the medians are of.
    #[arg(long, default_value = "3")]
    rounds: NonZero<usize>,
    /// List the rows.
    #[arg(long)]
    pub(crate) list: bool,
    /// Do what the parent process says on stdin.
    #[arg(long, hide = true)]
    pub(crate) child: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Whether a row among these is wanted. One that has the very name stands for itself alone.
    pub(crate) fn selects(&self, row: &str, rows: &[&str]) -> bool {
        let is_meant = |wanted: &String| {
            if rows.contains(&wanted.as_str()) {
                row == wanted
            } else {
                row.contains(wanted.as_str())
            }
        };
        self.rows.is_empty() || self.rows.iter().any(is_meant)
    }

    /// A wanted row that is none of these.
    pub(crate) fn unknown(&self, rows: &[&str]) -> Option<&str> {
        let wanted = self.rows.iter().map(String::as_str);
        wanted.into_iter().find(|wanted| !rows.iter().any(|row| row.contains(wanted)))
    }

    pub(crate) fn events(&self, default: u64) -> u64 {
        self.events.map_or(default, NonZero::get)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.get()
    }
}
