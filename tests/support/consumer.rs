//! How a consumer process is set up.

use std::{path::Path, process::Command, str::FromStr, time::Duration};

use crate::{Process, Topic};

/// A consumer of [`Deposited`](crate::Deposited) that writes the [`Ledger`](crate::Ledger).
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// What it calls itself in its effects.
    pub name: String,
    /// The group it joins.
    pub group: String,
    /// After how long without a sign of life the group puts it out.
    pub session_timeout: Duration,
    /// How long a poll may be missing before it leaves the group by itself.
    pub max_poll_interval: Duration,
    /// Of a hundred tries how many fail, by event and try.
    pub failures: u8,
    /// How long the handler rests after each effect.
    pub rest: Duration,
    /// What it does to events that are poison, after having had their effect.
    pub poison: Poison,
    /// How often an event is tried.
    pub attempts: u32,
    /// How long the handler may take.
    pub handler_timeout: Duration,
    /// How long the end and a rebalance wait for the handler.
    pub drain_timeout: Duration,
    /// How many transactions of a partition may be under way.
    pub concurrency: usize,
    /// How many events share one.
    pub max_batch: usize,
    /// How many connections to the database it may have.
    pub connections: u32,
    /// A bug in it.
    pub planted: Planted,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            name: "consumer".to_owned(),
            group: "ledger".to_owned(),
            session_timeout: Duration::from_secs(6),
            max_poll_interval: Duration::from_secs(300),
            failures: 0,
            rest: Duration::ZERO,
            poison: Poison::None,
            attempts: 5,
            handler_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            concurrency: 1,
            max_batch: 100,
            connections: 8,
            planted: Planted::None,
        }
    }
}

/// Where a consumer process receives from.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A topic.
    Kafka(&'a Topic),
    /// A queue on the server of this address.
    RabbitMq {
        /// The server's.
        url: &'a str,
        /// The queue's name.
        queue: &'a str,
    },
}

/// What a consumer process does to an event that is poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// Nothing special.
    None,
    /// It aborts.
    Abort,
    /// Its handler takes so long, between two statements.
    Sleep(Duration),
    /// Its handler takes so long, in a statement.
    Query(Duration),
}

/// A bug that the tests must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// None.
    None,
    /// The inbox marks nothing, and says that every event is new.
    NoMarks,
    /// The source acknowledges what it delivers, as it delivers it.
    Hasty,
    /// The source gives every record a key of its own.
    Keyless,
}

impl Process {
    /// Starts a consumer; `binary` is `env!("CARGO_BIN_EXE_consumer-process")`.
    #[must_use]
    pub fn consumer(
        binary: &str,
        database: &str,
        place: Place<'_>,
        options: &ConsumerOptions,
    ) -> Self {
        let millis = |duration: Duration| duration.as_millis().to_string();
        let mut consumer = Command::new(Path::new(binary));
        match place {
            Place::Kafka(topic) => consumer
                .env("CONSUMER_BROKERS", topic.brokers())
                .env("CONSUMER_TOPIC", topic.name.as_str()),
            Place::RabbitMq { url, queue } => {
                consumer.env("CONSUMER_RABBITMQ_URL", url).env("CONSUMER_QUEUE", queue)
            }
        };
        consumer
            .env("CONSUMER_DATABASE_URL", database)
            .env("CONSUMER_NAME", &options.name)
            .env("CONSUMER_GROUP", &options.group)
            .env("CONSUMER_SESSION_MS", millis(options.session_timeout))
            .env("CONSUMER_MAX_POLL_MS", millis(options.max_poll_interval))
            .env("CONSUMER_FAILURES", options.failures.to_string())
            .env("CONSUMER_REST_MS", millis(options.rest))
            .env("CONSUMER_POISON", options.poison.to_string())
            .env("CONSUMER_ATTEMPTS", options.attempts.to_string())
            .env("CONSUMER_HANDLER_MS", millis(options.handler_timeout))
            .env("CONSUMER_DRAIN_MS", millis(options.drain_timeout))
            .env("CONSUMER_CONCURRENCY", options.concurrency.to_string())
            .env("CONSUMER_MAX_BATCH", options.max_batch.to_string())
            .env("CONSUMER_CONNECTIONS", options.connections.to_string())
            .env("CONSUMER_PLANTED", options.planted.to_string());
        Self::start(&mut consumer)
    }
}

impl std::fmt::Display for Poison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Abort => f.write_str("abort"),
            Self::Sleep(long) => write!(f, "sleep:{}", long.as_millis()),
            Self::Query(long) => write!(f, "query:{}", long.as_millis()),
        }
    }
}

impl FromStr for Poison {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let millis = |text: &str| text.parse().map(Duration::from_millis);
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "abort" => Ok(Self::Abort),
            Some(("sleep", long)) => millis(long).map(Self::Sleep).map_err(|e| e.to_string()),
            Some(("query", long)) => millis(long).map(Self::Query).map_err(|e| e.to_string()),
            _ => Err(format!("no poison: {text}")),
        }
    }
}

impl std::fmt::Display for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::NoMarks => "no marks",
            Self::Hasty => "hasty",
            Self::Keyless => "keyless",
        })
    }
}

impl FromStr for Planted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::None, Self::NoMarks, Self::Hasty, Self::Keyless];
        all.into_iter()
            .find(|planted| planted.to_string() == text)
            .ok_or_else(|| format!("no bug: {text}"))
    }
}
