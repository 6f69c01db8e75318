//! Encryption.

use std::{fs, path::PathBuf};

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use relaybox_core::{Error, ErrorKind, Result};

/// Whom to trust, and who we are, on an encrypted connection.
///
/// The broker's certificate and host name are always verified.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Tls {
    ca_file: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Trusts the system's certificate authorities, and shows no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in a PEM file, beside the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Shows a certificate, from PEM files of it and of its key (PKCS#8, without a password).
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Reads the files, anew for each connection: certificates are replaced.
    pub(super) fn load(&self, operation: &'static str) -> Result<OwnedTLSConfig> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|source| {
                Error::new(ErrorKind::Invalid, operation)
                    .detail("a certificate or key file can't be read")
                    .caused_by(source)
            })
        };
        let authorities = self.ca_file.as_ref().map(read).transpose()?;
        let cert_chain = authorities
            .map(|pem| {
                String::from_utf8(pem)
                    .ok()
                    .filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----"))
                    .ok_or_else(|| {
                        Error::new(ErrorKind::Invalid, operation)
                            .detail("the file of authorities has no certificate in PEM form")
                    })
            })
            .transpose()?;
        let identity = match &self.certificate {
            Some((certificate, key)) => {
                Some(OwnedIdentity::PKCS8 { pem: read(certificate)?, key: read(key)? })
            }
            None => None,
        };
        Ok(OwnedTLSConfig { identity, cert_chain })
    }
}
