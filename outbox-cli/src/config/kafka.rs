//! `[kafka]`: the cluster.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::Text;

/// Which cluster, how, and as whom.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KafkaSection {
    pub(crate) brokers: Option<Text>,
    pub(crate) client_id: Option<String>,
    pub(crate) tls: Option<KafkaTls>,
    pub(crate) sasl: Option<Sasl>,
    /// Any other setting of librdkafka.
    pub(crate) settings: BTreeMap<String, String>,
}

/// Encryption, verified.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KafkaTls {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) key_password: Option<Text>,
}

/// A login.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sasl {
    pub(crate) mechanism: Mechanism,
    pub(crate) user: Text,
    pub(crate) password: Text,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

#[cfg(feature = "kafka")]
mod client {
    use relaybox::kafka::{KafkaConfig, Sasl as Login, Secret, Tls};

    use super::{
        super::{half_a_certificate, missing},
        KafkaTls, Mechanism, Sasl,
    };
    use crate::{config::Config, error::CliError};

    impl Config {
        /// How to reach Kafka.
        ///
        /// # Errors
        /// [`CliError::Config`] when it is not configured, or a setting is not allowed.
        pub(crate) fn kafka(&self) -> Result<KafkaConfig, CliError> {
            let absent = || missing("Kafka", "--brokers or RELAYBOX_KAFKA_BROKERS", "kafka");
            let section = self.kafka.as_ref().ok_or_else(absent)?;
            let brokers = section
                .brokers
                .as_ref()
                .ok_or_else(absent)?
                .resolve("kafka.brokers", &self.folder)?;
            let mut config = KafkaConfig::new(brokers);
            if let Some(id) = &section.client_id {
                config = config.client_id(id);
            }
            if let Some(tls) = &section.tls {
                config = config.tls(self.kafka_tls(tls)?);
            }
            if let Some(Sasl { mechanism, user, password }) = &section.sasl {
                let user = user.resolve("kafka.sasl.user", &self.folder)?;
                let password = Secret::new(password.resolve("kafka.sasl.password", &self.folder)?);
                config = config.sasl(match mechanism {
                    Mechanism::Plain => Login::plain(user, password),
                    Mechanism::ScramSha512 => Login::scram_sha_512(user, password),
                });
            }
            for (name, value) in &section.settings {
                config = config.set(name, value)?;
            }
            Ok(config)
        }

        fn kafka_tls(&self, section: &KafkaTls) -> Result<Tls, CliError> {
            let mut tls = Tls::new();
            if let Some(path) = &section.ca_file {
                tls = tls.ca_file(self.path(path));
            }
            tls = match (&section.certificate, &section.key) {
                (Some(certificate), Some(key)) => {
                    tls.client_certificate(self.path(certificate), self.path(key))
                }
                (None, None) => tls,
                _ => return Err(half_a_certificate("kafka.tls")),
            };
            if let Some(password) = &section.key_password {
                tls = tls.key_password(Secret::new(
                    password.resolve("kafka.tls.key_password", &self.folder)?,
                ));
            }
            Ok(tls)
        }
    }
}
