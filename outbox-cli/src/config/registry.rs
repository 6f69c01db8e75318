//! `[registry]`: the schema registry.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{Text, span::span};

/// Which registry, and as whom.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistrySection {
    pub(crate) urls: Vec<Text>,
    pub(crate) user: Option<Text>,
    pub(crate) password: Option<Text>,
    pub(crate) token: Option<Text>,
    pub(crate) tls: Option<RegistryTls>,
    /// How long an operation may take, with all its requests.
    #[serde(deserialize_with = "span")]
    pub(crate) timeout: Option<Duration>,
    pub(crate) naming: Naming,
    /// Whether the relay registers schemas that the registry doesn't have.
    pub(crate) register: Option<bool>,
    /// Whether a required field may go where the registry lets it.
    pub(crate) allow_removed_fields: bool,
}

/// Encryption, verified.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistryTls {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// How subjects are named; by topic and record, because a topic of ours has several event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Naming {
    #[default]
    TopicRecord,
    Topic,
    Record,
}

#[cfg(feature = "registry")]
mod client {
    use std::sync::Arc;

    use relaybox::avro::{
        RegistryConfig, RegistryFraming, SchemaRegistry, Secret, SubjectStrategy, Tls,
    };

    use super::{super::missing, Naming, RegistrySection};
    use crate::{
        config::Config,
        error::CliError,
        store::{SharedSchemas, Store},
    };

    impl Config {
        /// A client of the schema registry. It connects when it is used.
        ///
        /// # Errors
        /// [`CliError::Config`] when it is not configured.
        pub(crate) fn registry(&self) -> Result<SchemaRegistry, CliError> {
            let absent = || {
                missing("the schema registry", "--registry or RELAYBOX_REGISTRY_URL", "registry")
            };
            let section = self.registry.as_ref().ok_or_else(absent)?;
            if section.urls.is_empty() {
                return Err(absent());
            }
            let urls: Result<Vec<_>, _> =
                section.urls.iter().map(|url| url.resolve("registry.urls", &self.folder)).collect();
            let mut registry = RegistryConfig::new(urls?.join(","));
            let secret =
                |text: &crate::config::Text, key| text.resolve(key, &self.folder).map(Secret::new);
            registry = match (&section.user, &section.password, &section.token) {
                (None, None, None) => registry,
                (Some(user), Some(password), None) => registry.basic_auth(
                    user.resolve("registry.user", &self.folder)?,
                    secret(password, "registry.password")?,
                ),
                (None, None, Some(token)) => {
                    registry.bearer_token(secret(token, "registry.token")?)
                }
                _ => {
                    return Err(CliError::Config(
                        "registry: it takes either user and password, or token".to_owned(),
                    ));
                }
            };
            if let Some(tls) = &section.tls {
                let mut client = Tls::new();
                if let Some(path) = &tls.ca_file {
                    client = client.ca_file(self.path(path));
                }
                client = match (&tls.certificate, &tls.key) {
                    (Some(certificate), Some(key)) => {
                        client.client_certificate(self.path(certificate), self.path(key))
                    }
                    (None, None) => client,
                    _ => return Err(super::super::half_a_certificate("registry.tls")),
                };
                registry = registry.tls(client);
            }
            if let Some(timeout) = section.timeout {
                registry = registry.timeout(timeout);
            }
            if section.allow_removed_fields {
                registry = registry.allow_removed_fields();
            }
            Ok(SchemaRegistry::new(registry)?)
        }

        /// How subjects are named.
        pub(crate) fn subjects(&self) -> SubjectStrategy {
            self.registry.as_ref().map_or_else(SubjectStrategy::default, RegistrySection::strategy)
        }

        /// Puts the registry's ids before Avro payloads, by the schemas that the services stored.
        ///
        /// # Errors
        /// As [`registry`](Self::registry).
        pub(crate) fn framing(&self, store: &Store) -> Result<RegistryFraming, CliError> {
            let framing = RegistryFraming::new(
                self.registry()?,
                SharedSchemas(Arc::clone(&store.outbox) as _),
            )
            .subjects(self.subjects());
            let registers = self.registry.as_ref().and_then(|section| section.register);
            Ok(framing.register(registers.unwrap_or(true)))
        }
    }

    impl RegistrySection {
        fn strategy(&self) -> SubjectStrategy {
            match self.naming {
                Naming::TopicRecord => SubjectStrategy::TopicRecordName,
                Naming::Topic => SubjectStrategy::TopicName,
                Naming::Record => SubjectStrategy::RecordName,
            }
        }
    }
}
