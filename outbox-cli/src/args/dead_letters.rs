//! `relaybox dead-letters`.

use std::str::FromStr;

use clap::{Subcommand, ValueEnum};
use relaybox::{AggregateId, AggregateType, ConsumerName, EventId, TopicName};

use super::{When, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Lists what was given up on, and what waits behind it. Shows no payload.
    #[command(after_help = "\
Examples:
  relaybox dead-letters list
  relaybox dead-letters list --aggregate session/s-1 --json
  relaybox dead-letters list --topic session-events.v1 --kind timeout --since 2h
  relaybox dead-letters list --queue notifications")]
    List(List),

    /// Shows everything about one event; its payload and its headers only if asked to.
    #[command(after_help = "\
Examples:
  relaybox dead-letters show 0198c1f2-7a4e-7c11-9f0e-2f6a3c1d9b55
  relaybox dead-letters show 0198c1f2-7a4e-7c11-9f0e-2f6a3c1d9b55 --payload --topic session-events.v1
  relaybox dead-letters show --topic session-events.v1 --at 3:1207 --payload")]
    Show(Show),

    /// Puts dead letters back, to be published or handled afresh.
    ///
    /// Of the outbox, they are flagged: the relay publishes them, with those before them and what is parked
    /// behind them in their aggregate, in the original order. Of a consumer's topic or queue, they are sent
    /// back there, and only the consumer that gave them up takes them.
    #[command(after_help = "\
Examples:
  relaybox dead-letters redrive --dry-run
  relaybox dead-letters redrive --event 0198c1f2-7a4e-7c11-9f0e-2f6a3c1d9b55
  relaybox dead-letters redrive --topic session-events.v1 --kind timeout --limit 1000")]
    Redrive(Redrive),

    /// Removes dead letters for good.
    ///
    /// Asks first; without a terminal, --yes must say so. Of the outbox, --successors says what becomes of
    /// the events parked behind them.
    #[command(after_help = "\
Examples:
  relaybox dead-letters discard --event 0198c1f2-7a4e-7c11-9f0e-2f6a3c1d9b55 --successors release
  relaybox dead-letters discard --aggregate session/s-1 --successors discard --dry-run
  relaybox dead-letters discard --topic session-events.v1 --until 30d --yes")]
    Discard(Discard),
}

/// Whose dead letters.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
#[command(next_help_heading = "Where (the outbox by default)")]
pub(crate) struct Target {
    /// What the relay gave up on.
    #[arg(long)]
    pub(crate) outbox: bool,

    /// What consumers of this Kafka topic gave up on, in its dead-letter topic TOPIC.dlq.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<TopicName>,

    /// What the consumer of this RabbitMQ queue gave up on, in QUEUE.dlq.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
}

/// Which of them; all that are named must fit.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which (all by default)")]
pub(crate) struct Filter {
    /// This event; may be repeated.
    #[arg(long = "event", value_name = "ID")]
    pub(crate) events: Vec<EventId>,

    /// Events of this kind of aggregate, or of one aggregate: session, session/s-1. Of the outbox only.
    #[arg(long, value_name = "TYPE[/ID]")]
    pub(crate) aggregate: Option<AggregateFilter>,

    /// Events of this name, of any version, or of name and version: session.created,
    /// session.created.v2.
    #[arg(long, value_name = "NAME")]
    pub(crate) event_type: Option<String>,

    /// Given up for this kind of error: timeout, decode, … Of a topic or a queue only.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,

    /// Whose error contains this text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,

    /// With this record key, which is the aggregate's id unless the event names another. Of a topic or
    /// a queue only.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,

    /// The one at this place, as a list shows it; may be repeated. Of a topic or a queue only.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) at: Vec<PlaceFilter>,

    /// Given up by this consumer. Of a topic or a queue only.
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<ConsumerName>,

    /// Given up at this time or later: 2026-07-01T12:00:00Z, 2026-07-01, or a time ago, 2h.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<When>,

    /// Given up before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<When>,
}

/// A kind of aggregate, or one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AggregateFilter {
    pub(crate) aggregate_type: AggregateType,
    pub(crate) id: Option<AggregateId>,
}

impl FromStr for AggregateFilter {
    type Err = relaybox::Error;

    fn from_str(text: &str) -> Result<Self, relaybox::Error> {
        let (aggregate_type, id) = match text.split_once('/') {
            Some((aggregate_type, id)) => (aggregate_type, Some(id.parse()?)),
            None => (text, None),
        };
        Ok(Self { aggregate_type: aggregate_type.parse()?, id })
    }
}

/// A place in a dead-letter topic (`3:1207`), or what a list of a queue's dead letters gives for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaceFilter {
    pub(crate) partition: Option<i32>,
    pub(crate) offset: i64,
}

impl FromStr for PlaceFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = match text.split_once(':') {
            Some((partition, offset)) => partition.parse().ok().zip(offset.parse().ok()),
            None => {
                return text.parse().map_err(wrong).map(|offset| Self { partition: None, offset });
            }
        };
        let (partition, offset) = place
            .filter(|(partition, offset)| *partition >= 0 && *offset >= 0)
            .ok_or_else(|| wrong(()))?;
        Ok(Self { partition: Some(partition), offset })
    }
}

fn wrong<E>(_: E) -> String {
    "a place is a partition and an offset, 3:1207; in a queue, a number".to_owned()
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) filter: Filter,

    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,

    /// Of a topic: shows, too, what was put back or discarded.
    #[arg(long)]
    pub(crate) all: bool,

    /// Prints a line of JSON: an array.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Which event.
    #[arg(value_name = "EVENT_ID", required_unless_present = "at")]
    pub(crate) event: Option<EventId>,

    /// The letter at this place of a topic or a queue: its event may be unreadable.
    #[arg(long, value_name = "PLACE", conflicts_with = "event", allow_hyphen_values = true)]
    pub(crate) at: Option<PlaceFilter>,

    #[command(flatten)]
    pub(crate) target: Target,

    /// Shows payload and headers, too. They are your users' data.
    #[arg(long)]
    pub(crate) payload: bool,

    /// With --payload: at most so many bytes of it.
    #[arg(long, value_name = "N", default_value_t = 65_536, requires = "payload")]
    pub(crate) max_bytes: usize,

    /// Prints a line of JSON: an array, for an event may have been given up on more than once.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) filter: Filter,

    /// At most so many, the first ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,

    /// Of a topic or a queue: refuses what was given up on longer ago than the consumer's marks are kept,
    /// because nobody would know any more whether the event was handled meanwhile.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) marks_kept: Option<std::time::Duration>,

    /// Of a topic or a queue: puts back, too, what was put back before or is older than the marks.
    #[arg(long)]
    pub(crate) force: bool,

    /// Says what would be done, and does nothing.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,

    /// Prints a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) filter: Filter,

    /// At most so many, the first ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,

    /// What becomes of the events parked behind them. Needed for the outbox's.
    #[arg(long, value_name = "WHAT")]
    pub(crate) successors: Option<Successors>,

    /// Says what would be done, and does nothing.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,

    /// Doesn't ask.
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Prints a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Successors {
    /// They are published, unless another dead letter is before them.
    Release,
    /// They are discarded, too.
    Discard,
}
