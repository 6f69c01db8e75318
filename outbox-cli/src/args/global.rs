//! What every command takes.

use std::{fmt, path::PathBuf};

use clap::ValueEnum;

#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The configuration; relaybox.toml of this folder by default, if there is one.
    #[arg(long, short, global = true, value_name = "FILE", env = "RELAYBOX_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// The outbox's database: postgres://…, sqlite:FILE or mongodb://…. A password is better in the
    /// environment, where other users can't see it.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "RELAYBOX_STORE_URL",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,

    /// Kafka's brokers, host:port, separated by commas.
    #[arg(long, global = true, value_name = "LIST", env = "RELAYBOX_KAFKA_BROKERS")]
    pub(crate) brokers: Option<String>,

    /// RabbitMQ: amqp://user:password@host:port/vhost.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "RELAYBOX_RABBITMQ_URL",
        hide_env_values = true
    )]
    pub(crate) rabbitmq: Option<String>,

    /// The schema registry; several URLs separated by commas.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "RELAYBOX_REGISTRY_URL",
        hide_env_values = true
    )]
    pub(crate) registry: Option<String>,

    /// How the log on standard error looks.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log: LogFormat,
}

/// Without the URLs: they may have passwords in them.
impl fmt::Debug for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Global")
            .field("config", &self.config)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}
