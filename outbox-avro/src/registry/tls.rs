//! Encryption.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
};

use relaybox_core::{Error, ErrorKind, Result};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::CONFIGURE;

/// Whom to trust, and who we are, on an encrypted connection.
///
/// The registry's certificate and host name are always verified.
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

    /// Shows a certificate, from PEM files of it and of its key (without a password).
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Reads the files. Nobody is trusted when no URL is encrypted: the system's authorities take a
    /// while to read, and there may be none.
    pub(super) fn load(&self, is_used: bool) -> Result<ClientConfig> {
        let mut trusted = RootCertStore::empty();
        if is_used {
            // What the system has and rustls can't read is of no use to anyone.
            trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if let Some(path) = &self.ca_file {
                for certificate in certificates(path)? {
                    trusted.add(certificate).map_err(|source| {
                        invalid(format!("a certificate authority is not valid: {}", path.display()))
                            .caused_by(source)
                    })?;
                }
            }
        }
        // Ours by name: a process may have another default, or several and none.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| invalid("TLS can't be set up").caused_by(source))?
            .with_root_certificates(trusted);
        let Some((certificate, key)) = &self.certificate else {
            return Ok(config.with_no_client_auth());
        };
        // rustls' own errors say what is wrong with a key, never what is in it.
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| {
            invalid(format!("the key can't be read: {}", key.display())).caused_by(source)
        })?;
        config.with_client_auth_cert(certificates(certificate)?, private).map_err(|source| {
            invalid(format!(
                "certificate and key don't go together: {} and {}",
                certificate.display(),
                key.display()
            ))
            .caused_by(source)
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|source| {
            invalid(format!("a certificate file can't be read: {}", path.display()))
                .caused_by(source)
        })?;
    if found.is_empty() {
        return Err(invalid(format!(
            "a certificate file has no certificate in PEM form: {}",
            path.display()
        )));
    }
    Ok(found)
}

fn invalid(what: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, CONFIGURE).detail(what)
}
