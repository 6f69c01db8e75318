//! How to reach a broker, and as whom.

mod tls;

use std::{fmt, time::Duration};

use lapin::{
    ConnectionProperties,
    tcp::OwnedTLSConfig,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use relaybox_core::{Error, ErrorKind, Result};

pub use self::tls::Tls;
use crate::Secret;

const CONFIGURE: &str = "configure RabbitMQ";

/// Which broker to talk to, how, and as whom.
///
/// ```
/// use relaybox_rabbitmq::{RabbitConfig, Secret, Tls};
///
/// let config = RabbitConfig::new("rabbit.internal")
///     .vhost("orders")
///     .login("orders", Secret::new("from the secret store"))
///     .tls(Tls::new().ca_file("/etc/rabbitmq/ca.pem"))
///     .connection_name("orders-relay");
/// assert!(!format!("{config:?}").contains("secret store"));
///
/// let config = RabbitConfig::from_url("amqps://orders:hunter2@rabbit.internal/%2f")?;
/// assert!(!format!("{config:?}").contains("hunter2"));
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RabbitConfig {
    host: String,
    port: Option<u16>,
    vhost: String,
    user: String,
    password: Secret,
    tls: Option<Tls>,
    connection_name: String,
    heartbeat: Duration,
    connect_timeout: Duration,
}

impl RabbitConfig {
    /// A broker by its host: the usual port, the virtual host `/`, user and password `guest`, no TLS.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: None,
            vhost: "/".to_owned(),
            user: "guest".to_owned(),
            password: Secret::new("guest"),
            tls: None,
            connection_name: "relaybox".to_owned(),
            heartbeat: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// A broker by its URL, `amqp://user:password@host:port/vhost` or `amqps://…`.
    ///
    /// The virtual host is percent-encoded: `%2f` is the usual one, `/`. Of the parameters in a query,
    /// `heartbeat` (in seconds) and `connection_timeout` (in milliseconds) count.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is no such URL. The error doesn't contain it.
    pub fn from_url(url: &str) -> Result<Self> {
        let uri: AMQPUri = url.parse().map_err(|_: String| {
            Error::new(ErrorKind::Invalid, CONFIGURE)
                .detail("the URL is not of the form amqp://user:password@host:port/vhost")
        })?;
        let AMQPUserInfo { username, password } = uri.authority.userinfo;
        let mut config = Self::new(uri.authority.host)
            .port(uri.authority.port)
            .vhost(uri.vhost)
            .login(username, Secret::new(password));
        if uri.scheme == AMQPScheme::AMQPS {
            config = config.tls(Tls::new());
        }
        if let Some(seconds) = uri.query.heartbeat {
            config = config.heartbeat(Duration::from_secs(seconds.into()));
        }
        if let Some(milliseconds) = uri.query.connection_timeout {
            config = config.connect_timeout(Duration::from_millis(milliseconds));
        }
        Ok(config)
    }

    /// Sets the port; 5672 by default, 5671 with TLS.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the virtual host, not percent-encoded; `/` by default.
    pub fn vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = vhost.into();
        self
    }

    /// Logs in. Without TLS the password goes over the network as it is.
    pub fn login(mut self, user: impl Into<String>, password: Secret) -> Self {
        (self.user, self.password) = (user.into(), password);
        self
    }

    /// Encrypts, and verifies the broker's certificate and host name. Needs the feature `tls`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the name by which the broker's logs and its management show the connections; `relaybox` by
    /// default.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.connection_name = name.into();
        self
    }

    /// Sets after how long without a sign of life a connection counts as lost, in whole seconds; 10 s
    /// by default. The broker may ask for less. Below 5 s a busy machine is taken for a dead one.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Sets how long connecting and logging in may take; 10 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.connect_timeout
    }

    pub(crate) fn name(&self) -> &str {
        &self.connection_name
    }

    /// Where to connect to. It has the password in it.
    pub(crate) fn uri(&self) -> Result<AMQPUri> {
        let invalid = |what| Error::new(ErrorKind::Invalid, CONFIGURE).detail(what);
        if self.host.trim().is_empty() {
            return Err(invalid("no host is named"));
        }
        if !cfg!(feature = "tls") && self.tls.is_some() {
            return Err(invalid("TLS needs the feature \"tls\" of relaybox-rabbitmq"));
        }
        let scheme = if self.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP };
        let heartbeat = u16::try_from(self.heartbeat.as_secs().max(1)).unwrap_or(u16::MAX);
        let timeout = u64::try_from(self.connect_timeout.as_millis()).unwrap_or(u64::MAX);
        Ok(AMQPUri {
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.user.clone(),
                    password: self.password.expose().to_owned(),
                },
                host: self.host.clone(),
                port: self.port.unwrap_or_else(|| scheme.default_port()),
            },
            scheme,
            vhost: self.vhost.clone(),
            query: AMQPQueryString {
                heartbeat: Some(heartbeat),
                connection_timeout: Some(timeout),
                ..AMQPQueryString::default()
            },
        })
    }

    pub(crate) fn tls_config(&self, operation: &'static str) -> Result<OwnedTLSConfig> {
        self.tls.as_ref().map_or_else(|| Ok(OwnedTLSConfig::default()), |tls| tls.load(operation))
    }

    pub(crate) fn properties(&self, role: &'static str) -> ConnectionProperties {
        ConnectionProperties::default()
            .with_connection_name(format!("{} ({role})", self.connection_name).into())
    }
}

/// Without the password.
impl fmt::Debug for RabbitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitConfig")
            .field("vhost", &self.vhost)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("tls", &self.tls)
            .field("connection_name", &self.connection_name)
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = "amqp://us%40er:p%2fw@rabbit:1234/orders?heartbeat=7&connection_timeout=1500";
        let uri = RabbitConfig::from_url(url).unwrap().uri().unwrap();
        assert_eq!(uri.authority.userinfo.username, "us@er");
        assert_eq!(uri.authority.userinfo.password, "p/w");
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("rabbit", 1234));
        assert_eq!(uri.vhost, "orders");
        assert_eq!((uri.query.heartbeat, uri.query.connection_timeout), (Some(7), Some(1500)));
        let usual = RabbitConfig::from_url("amqp://rabbit").unwrap().uri().unwrap();
        assert_eq!((usual.vhost.as_str(), usual.authority.port), ("/", 5672));
    }

    #[test]
    fn no_password_is_shown_even_when_the_url_is_wrong() {
        let config = RabbitConfig::from_url("amqp://user:hunter2@localhost/%2f").unwrap();
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("hunter2") && !shown.contains("amqp://"), "{shown}");
        for wrong in ["http://user:hunter2@localhost", "user:hunter2", "amqp://u:hunter2@h:99999"] {
            let error = RabbitConfig::from_url(wrong).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_without_the_feature_is_refused_by_name() {
        let refused = RabbitConfig::from_url("amqps://localhost").unwrap().uri().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.to_string().contains("feature \"tls\""), "{refused}");
    }
}
