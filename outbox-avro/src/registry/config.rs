//! How to reach a registry, and as whom.

use std::{fmt, time::Duration};

use relaybox_core::RetryPolicy;

use super::{Secret, Tls};

/// Which registry to talk to, how, and as whom.
///
/// ```
/// use std::time::Duration;
/// use relaybox_avro::{RegistryConfig, Secret, Tls};
///
/// let config = RegistryConfig::new("https://registry-1:8081,https://registry-2:8081")
///     .basic_auth("orders", Secret::new("from the secret store"))
///     .tls(Tls::new().ca_file("/etc/registry/ca.pem"))
///     .request_timeout(Duration::from_secs(2));
/// assert!(!format!("{config:?}").contains("secret store"));
///
/// let config = RegistryConfig::new("https://orders:hunter2@registry-1:8081");
/// assert!(!format!("{config:?}").contains("hunter2"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct RegistryConfig {
    pub(super) urls: Vec<String>,
    pub(super) login: Option<Login>,
    pub(super) tls: Tls,
    pub(super) request_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) max_response: usize,
    pub(super) allows_removed_fields: bool,
}

/// As whom.
#[derive(Clone)]
pub(super) enum Login {
    Basic(String, Secret),
    Bearer(Secret),
}

impl RegistryConfig {
    /// A registry by its URL, or by several of them, separated by commas: they are asked in turn when
    /// one can't be reached. A path in it is kept: `http://localhost:8080/apis/ccompat/v7`.
    ///
    /// A URL may hold a user and a password, `https://user:password@host`, percent-encoded.
    pub fn new(urls: impl AsRef<str>) -> Self {
        let urls = urls.as_ref().split(',').map(|url| url.trim().to_owned());
        Self {
            urls: urls.filter(|url| !url.is_empty()).collect(),
            login: None,
            tls: Tls::new(),
            request_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(8),
            retry: RetryPolicy::default().cap(Duration::from_secs(1)).max_attempts(3),
            max_response: 4 * 1024 * 1024,
            allows_removed_fields: false,
        }
    }

    /// Adds a URL, to be asked when those before can't be reached.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Logs in with user and password (or API key and secret), whatever the URLs say. Without TLS the
    /// password goes over the network as it is.
    pub fn basic_auth(mut self, user: impl Into<String>, password: Secret) -> Self {
        self.login = Some(Login::Basic(user.into(), password));
        self
    }

    /// Logs in with a token, whatever the URLs say. Without TLS it goes over the network as it is.
    pub fn bearer_token(mut self, token: Secret) -> Self {
        self.login = Some(Login::Bearer(token));
        self
    }

    /// Sets whom to trust, and what certificate to show, where a URL is `https`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Sets how long one request may take, connecting and reading included; 3 s by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets how long one question to the registry may take, with the tries at all URLs and the waits
    /// between them; 8 s by default.
    ///
    /// Some operations ask several questions, one after the other:
    /// [`check_compatibility`](super::SchemaRegistry::check_compatibility) one for each version that it
    /// compares, [`schema_by_id`](super::SchemaRegistry::schema_by_id) one for each schema that is
    /// referred to. And what one URL doesn't know, the others are asked for, each within
    /// [`request_timeout`](Self::request_timeout). A relay waits for none of them:
    /// see [`RegistryFraming::patience`](super::RegistryFraming::patience) and
    /// [`search_timeout`](super::RegistryFraming::search_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how a question is asked again when no URL gives an answer, and how often in all. By
    /// default three times, after 0.1 s and 0.2 s at most.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets how many bytes an answer may have; 4 MiB by default.
    pub fn max_response(mut self, bytes: usize) -> Self {
        self.max_response = bytes.max(1);
        self
    }

    /// Lets a required field go where the registry does. Without this, a schema that lacks one is called
    /// incompatible: see [`Evolution`](crate::Evolution).
    pub fn allow_removed_fields(mut self) -> Self {
        self.allows_removed_fields = true;
        self
    }
}

/// Without URLs, user and secrets.
impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self.login.as_ref().map(|login| match login {
            Login::Basic(..) => "basic",
            Login::Bearer(_) => "bearer",
        });
        f.debug_struct("RegistryConfig")
            .field("urls", &self.urls.len())
            .field("login", &login)
            .field("tls", &self.tls)
            .field("request_timeout", &self.request_timeout)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("max_response", &self.max_response)
            .field("allows_removed_fields", &self.allows_removed_fields)
            .finish()
    }
}
