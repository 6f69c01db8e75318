//! The command line.

mod dead_letters;
mod global;
mod purge;
mod time;
mod topics;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, builder::Resettable};

pub(crate) use self::{
    dead_letters::{
        DeadLettersCommand, Discard, Filter, List, PlaceFilter, Redrive, Show, Successors, Target,
    },
    global::{Global, LogFormat},
    purge::{Pace, PurgeCommand},
    time::{When, duration},
    topics::{SchemasCheck, SchemasCommand, Seed, TopicsApply, TopicsCommand, TopicsPlan},
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; of a check: nothing is wrong
  1  a check failed, or what was asked for is refused
  2  the command line or the configuration is wrong
  3  the database, the broker or the registry can't be reached: try again later
  4  anything else
  130  interrupted twice

Environment:
  RELAYBOX_CONFIG, RELAYBOX_STORE_URL, RELAYBOX_KAFKA_BROKERS, RELAYBOX_RABBITMQ_URL and
  RELAYBOX_REGISTRY_URL stand for the options of these names, which win. Any text in the file that
  may be secret can be \"env:NAME\" or \"file:PATH\". RUST_LOG says how much is logged.

Examples:
  relaybox migrate --store postgres://app@db/app
  relaybox status
  relaybox topics plan
  relaybox dead-letters list --json
  relaybox relay run --config /etc/relaybox.toml";

/// Topics, schemas, migrations, dead letters, and a relay of its own, for a transactional outbox.
#[derive(Debug, Parser)]
#[command(name = "relaybox", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Those of the process, which ends here when they are wrong. An environment variable that is empty
    /// counts as unset.
    pub(crate) fn of_process() -> Self {
        let command = Self::command().mut_args(|arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        });
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows what would change on the broker and in the registry, and makes it so.
    #[command(subcommand)]
    Topics(TopicsCommand),

    /// Checks schemas against those of the registry.
    #[command(subcommand)]
    Schemas(SchemasCommand),

    /// Creates the outbox's tables, or brings them up to date.
    Migrate(Migrate),

    /// Shows how much waits, how old it is, what was given up on, and which relay works.
    Status(Status),

    /// Lists, redrives and discards what was given up on: by relays, or by consumers.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),

    /// Removes what was kept for long enough, in small transactions.
    #[command(subcommand)]
    Purge(PurgeCommand),

    /// Runs a relay.
    #[command(subcommand)]
    Relay(RelayCommand),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Several may run at once, and a database that is up to date is not changed.

Examples:
  relaybox migrate
  relaybox migrate --print > migrations/0001_relaybox.sql
  relaybox migrate --print --store sqlite:")]
pub(crate) struct Migrate {
    /// Prints the statements instead, for those who run their own migrations. Connects to nothing.
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The outbox, and the dead-letter topics and queues that the configuration names.

Examples:
  relaybox status
  relaybox status --json | jq .store.backlog
  relaybox status --watch 5
  relaybox status --max-age 60s --max-dead-letters 0   # exits with 1 when it is worse")]
pub(crate) struct Status {
    /// Prints a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Shows it again each so many seconds, until interrupted.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["max_age", "max_dead_letters"])]
    pub(crate) watch: Option<u64>,

    /// Exits with 1 when an event has been waiting for longer: 90s, 5m.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_age: Option<std::time::Duration>,

    /// Exits with 1 when a relay or a consumer gave up on more events, of the outbox, of any dead-letter
    /// topic or queue, or when nobody knows how many.
    #[arg(long, value_name = "N")]
    pub(crate) max_dead_letters: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RelayCommand {
    /// Publishes what is in the outbox until SIGTERM or SIGINT.
    ///
    /// It moves bytes and knows no event type, so it serves any service. Several may run for one outbox:
    /// one works, the others stand by. On a signal it stops reading, waits for what is in flight, settles
    /// and gives its lease up; on a second one it ends at once.
    #[command(after_help = "\
Examples:
  relaybox relay run --config relaybox.toml
  relaybox relay run --store postgres://relay@db/app --brokers kafka:9092 --log json
  RUST_LOG=relaybox_core=debug relaybox relay run")]
    Run(RelayRun),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RelayRun {
    /// Its name in the log, the metrics and the lease; the host's by default.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Publishes to this broker, where the configuration has both.
    #[arg(long, value_name = "BROKER")]
    pub(crate) bus: Option<crate::config::BusKind>,

    /// Ends when nothing is left in the outbox, redriven dead letters included, instead of waiting for
    /// more.
    #[arg(long)]
    pub(crate) drain: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_not_shown_by_debug() {
        let secret = "postgres://u:hunter2@h/d";
        let args = Args::try_parse_from(["relaybox", "status", "--store", secret]).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_examples() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        let mut commands = vec![command];
        while let Some(command) = commands.pop() {
            let subcommands: Vec<_> =
                command.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect();
            if subcommands.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{}", command.get_name());
            }
            commands.extend(subcommands);
        }
    }
}
