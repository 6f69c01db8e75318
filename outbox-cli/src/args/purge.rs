//! `relaybox purge`.

use std::time::Duration;

use clap::Subcommand;
use relaybox::ConsumerName;

use super::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum PurgeCommand {
    /// Removes published events from the archive.
    #[command(after_help = "\
Examples:
  relaybox purge archive --older-than 30d
  relaybox purge archive --older-than 12h --batch 5000 --json")]
    Archive {
        #[command(flatten)]
        pace: Pace,
    },

    /// Removes a consumer's marks.
    ///
    /// A mark that was removed knows no repeat: keep them for longer than the topic keeps its records,
    /// and than dead letters are redriven.
    #[command(after_help = "\
Examples:
  relaybox purge marks --consumer notifications --older-than 14d")]
    Marks {
        /// Whose.
        #[arg(long, value_name = "NAME")]
        consumer: ConsumerName,

        #[command(flatten)]
        pace: Pace,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Pace {
    /// What is older than this, by the database's clock: 12h, 30d.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) older_than: Duration,

    /// How many rows one transaction removes at most.
    #[arg(long, value_name = "ROWS", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,

    /// Doesn't rest between batches for as long as each took.
    #[arg(long)]
    pub(crate) no_rest: bool,

    /// Prints a line of JSON at the end.
    #[arg(long)]
    pub(crate) json: bool,
}
