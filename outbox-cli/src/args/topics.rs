//! `relaybox topics` and `relaybox schemas`.

use std::path::PathBuf;

use clap::Subcommand;
use relaybox::AggregateType;

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Shows what apply would change, as a diff. Changes nothing.
    ///
    /// Exits with 1 when there is something that can't be changed safely, or an incompatible schema.
    #[command(after_help = "\
Examples:
  relaybox topics plan
  relaybox topics plan --file topics.toml --json
  relaybox topics plan --aggregates session,cart --partitions 12 --replication 3
  relaybox topics plan --check      # in CI: exits with 1 unless nothing is to be done")]
    Plan(TopicsPlan),

    /// Makes topics, dead-letter topics and subjects as they should be; again changes nothing.
    ///
    /// Nothing is changed at all when a part is refused: fewer partitions, more of them without
    /// --allow-more-partitions, another replication factor, an incompatible schema. Settings and subjects
    /// that are not named stay as they are.
    #[command(after_help = "\
Examples:
  relaybox topics apply
  relaybox topics apply --aggregates session,cart --partitions 12 --replication 3")]
    Apply(TopicsApply),
}

/// What there should be.
#[derive(Debug, clap::Args)]
pub(crate) struct Seed {
    /// Reads `[[topics]]` and `[[subjects]]` from this file, instead of the configuration.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The topics of these aggregate types, by `[routes]` or the default names, instead of
    /// `[[topics]]`.
    #[arg(long, value_name = "TYPES", value_delimiter = ',', conflicts_with = "file")]
    pub(crate) aggregates: Vec<AggregateType>,

    /// With --aggregates: how many partitions each has.
    #[arg(long, value_name = "N", default_value_t = 12, requires = "aggregates",
        value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,

    /// With --aggregates: how many brokers have a copy; -1 leaves it to the cluster.
    #[arg(long, value_name = "N", default_value_t = -1, requires = "aggregates",
        allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    pub(crate) replication: i32,

    /// Adds partitions where there are too few. Keys then go to other partitions than before, so that
    /// the order of an aggregate's events has a break there.
    #[arg(long)]
    pub(crate) allow_more_partitions: bool,

    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TopicsPlan {
    #[command(flatten)]
    pub(crate) seed: Seed,

    /// Exits with 1 also when there is something to be done.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TopicsApply {
    #[command(flatten)]
    pub(crate) seed: Seed,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchemasCommand {
    /// Fails when a schema is not compatible with what consumers read. Registers nothing.
    ///
    /// Of each subject in the configuration, the schema file is checked against the versions in the
    /// registry, or with --against against files. Exits with 1 and names the field when one is not
    /// compatible.
    #[command(after_help = "\
Examples:
  relaybox schemas check --registry https://registry.internal
  relaybox schemas check --against schemas/released
  relaybox schemas check --schema new.avsc --against old.avsc --compatibility FULL
  relaybox schemas check --schema created.avsc --subject session-events.v1-session.Created")]
    Check(SchemasCheck),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SchemasCheck {
    /// Reads `[[subjects]]` from this file, instead of the configuration.
    #[arg(long, short, value_name = "FILE", conflicts_with = "schema")]
    pub(crate) file: Option<PathBuf>,

    /// Checks this schema file only.
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,

    /// With --schema: the subject in the registry.
    #[arg(long, value_name = "SUBJECT", requires = "schema", conflicts_with = "against")]
    pub(crate) subject: Option<String>,

    /// Checks against this file, or against the file of the same name in this folder; asks no registry.
    #[arg(long, value_name = "PATH")]
    pub(crate) against: Option<PathBuf>,

    /// Which direction, whatever the configuration says: BACKWARD, FORWARD, FULL, each also with
    /// _TRANSITIVE, or NONE. Without it, what `[[subjects]]` says, and else BACKWARD.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) compatibility: Option<String>,

    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
