//! The command line.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// Commits sessions and their events, publishes them, handles each exactly once - while things go
/// wrong - and checks that it was so.
#[derive(Debug, Parser)]
#[command(name = "session_demo")]
pub(crate) struct Args {
    /// A PostgreSQL server: postgres://user@host/database. It makes a database of its own there, and
    /// drops it at the end. Without it: a SQLite file.
    #[arg(long, value_name = "URL", env = "RELAYBOX_DEMO_POSTGRES", hide_env_values = true)]
    pub(crate) postgres: Option<String>,

    /// A replica set of MongoDB: mongodb://host/?replicaSet=rs0. It makes a database of its own there, and
    /// drops it at the end.
    #[arg(
        long,
        value_name = "URL",
        env = "RELAYBOX_DEMO_MONGODB",
        hide_env_values = true,
        conflicts_with = "postgres"
    )]
    pub(crate) mongodb: Option<String>,

    /// Which broker.
    #[arg(long, value_name = "NAME", default_value = "kafka")]
    pub(crate) broker: BrokerKind,

    /// A RabbitMQ server for `--broker rabbitmq`: amqp://user:password@host:port/vhost. It makes queues
    /// of its own there, and deletes them at the end.
    #[arg(
        long,
        value_name = "URL",
        env = "RELAYBOX_DEMO_RABBITMQ",
        hide_env_values = true,
        required_if_eq("broker", "rabbitmq")
    )]
    pub(crate) rabbitmq: Option<String>,

    /// Kafka brokers, host:port, separated by commas. Without it: a cluster inside this process.
    #[arg(long, value_name = "LIST", env = "RELAYBOX_DEMO_BROKERS")]
    pub(crate) brokers: Option<String>,

    /// A schema registry with Confluent's API: events are Avro then, their schemas registered there.
    /// Without it: JSON.
    #[arg(long, value_name = "URL", env = "RELAYBOX_DEMO_REGISTRY", hide_env_values = true)]
    pub(crate) registry: Option<String>,

    /// How many sessions to create.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub(crate) sessions: usize,

    /// Decides what happens to each session.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Prints the summary as a JSON object, as the last line.
    #[arg(long)]
    pub(crate) json: bool,

    /// Then serves the HTTP API on this address until it is interrupted.
    #[arg(long, value_name = "ADDR")]
    pub(crate) serve: Option<SocketAddr>,
}

/// What events go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BrokerKind {
    Kafka,
    Rabbitmq,
}
