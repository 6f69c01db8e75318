//! Encryption and login.

use std::path::{Path, PathBuf};

use rdkafka::ClientConfig;
use relaybox_core::{Error, ErrorKind, Result};

use crate::Secret;

/// Whom to trust, and who we are, on an encrypted connection.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Tls {
    ca_file: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    key_password: Option<Secret>,
}

impl Tls {
    /// Trusts the system's certificate authorities, and shows no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in a PEM file, instead of the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Shows a certificate, from PEM files of it and of its key.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the password of the key file.
    pub fn key_password(mut self, password: Secret) -> Self {
        self.key_password = Some(password);
        self
    }

    pub(super) fn password(&self) -> Option<&Secret> {
        self.key_password.as_ref()
    }

    pub(super) fn apply(&self, config: &mut ClientConfig) -> Result<()> {
        config
            .set("enable.ssl.certificate.verification", "true")
            .set("ssl.endpoint.identification.algorithm", "https");
        if let Some(path) = &self.ca_file {
            config.set("ssl.ca.location", utf8(path)?);
        }
        if let Some((certificate, key)) = &self.certificate {
            config.set("ssl.certificate.location", utf8(certificate)?);
            config.set("ssl.key.location", utf8(key)?);
        }
        if let Some(password) = &self.key_password {
            config.set("ssl.key.password", password.expose());
        }
        Ok(())
    }
}

/// A login.
#[derive(Debug, Clone)]
#[must_use]
pub struct Sasl {
    mechanism: &'static str,
    user: String,
    password: Secret,
}

impl Sasl {
    /// SASL PLAIN. The password goes over the network as it is: use it with TLS.
    pub fn plain(user: impl Into<String>, password: Secret) -> Self {
        Self { mechanism: "PLAIN", user: user.into(), password }
    }

    /// SCRAM-SHA-512. Needs the feature `tls`, whether TLS is used or not.
    pub fn scram_sha_512(user: impl Into<String>, password: Secret) -> Self {
        Self { mechanism: SCRAM, user: user.into(), password }
    }

    pub(super) fn is_scram(&self) -> bool {
        self.mechanism == SCRAM
    }

    pub(super) fn password(&self) -> &Secret {
        &self.password
    }

    pub(super) fn apply(&self, config: &mut ClientConfig) {
        config
            .set("sasl.mechanism", self.mechanism)
            .set("sasl.username", &self.user)
            .set("sasl.password", self.password.expose());
    }
}

const SCRAM: &str = "SCRAM-SHA-512";

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "configure Kafka").detail("a path is not UTF-8")
    })
}
