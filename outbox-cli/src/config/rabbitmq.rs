//! `[rabbitmq]`: the broker.

use std::path::PathBuf;

use relaybox::TopicName;
use serde::Deserialize;

use super::Text;

/// Which broker, how, and as whom.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RabbitSection {
    pub(crate) url: Option<Text>,
    /// What the relay publishes to; `events` by default.
    pub(crate) exchange: Option<TopicName>,
    /// The consumers' queues whose dead letters `status` counts.
    pub(crate) queues: Vec<String>,
    pub(crate) tls: Option<RabbitTls>,
}

/// Encryption, verified.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RabbitTls {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

#[cfg(feature = "rabbitmq")]
mod client {
    use relaybox::rabbitmq::{RabbitConfig, Tls};

    use super::{
        super::{half_a_certificate, missing},
        RabbitTls,
    };
    use crate::{config::Config, error::CliError};

    impl Config {
        /// How to reach RabbitMQ.
        ///
        /// # Errors
        /// [`CliError::Config`] when it is not configured.
        pub(crate) fn rabbitmq(&self) -> Result<RabbitConfig, CliError> {
            let absent = || missing("RabbitMQ", "--rabbitmq or RELAYBOX_RABBITMQ_URL", "rabbitmq");
            let section = self.rabbitmq.as_ref().ok_or_else(absent)?;
            let url =
                section.url.as_ref().ok_or_else(absent)?.resolve("rabbitmq.url", &self.folder)?;
            let config = RabbitConfig::from_url(&url)?;
            match &section.tls {
                Some(tls) => Ok(config.tls(self.rabbit_tls(tls)?)),
                None => Ok(config),
            }
        }

        fn rabbit_tls(&self, section: &RabbitTls) -> Result<Tls, CliError> {
            let mut tls = Tls::new();
            if let Some(path) = &section.ca_file {
                tls = tls.ca_file(self.path(path));
            }
            match (&section.certificate, &section.key) {
                (Some(certificate), Some(key)) => {
                    Ok(tls.client_certificate(self.path(certificate), self.path(key)))
                }
                (None, None) => Ok(tls),
                _ => Err(half_a_certificate("rabbitmq.tls")),
            }
        }
    }
}
