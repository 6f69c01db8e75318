//! How to reach a cluster, and as whom.

mod security;

use std::{collections::BTreeMap, fmt, time::Duration};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use relaybox_core::{Error, ErrorKind, Result};
use tracing::Level;

pub use self::security::{Sasl, Tls};
use crate::Secret;

/// Which cluster to talk to, how, and as whom.
///
/// The settings that the guarantees rest on are fixed: idempotence, `acks=all`, no gap, manual
/// commits, and, with TLS, that the broker's certificate and host name are verified.
///
/// ```
/// use relaybox_kafka::{KafkaConfig, Sasl, Secret, Tls};
///
/// let config = KafkaConfig::new("kafka-1:9093,kafka-2:9093")
///     .client_id("orders")
///     .tls(Tls::new().ca_file("/etc/kafka/ca.pem"))
///     .sasl(Sasl::scram_sha_512("orders", Secret::new("from the secret store")))
///     .set("message.max.bytes", "2000000")?;
/// assert!(!format!("{config:?}").contains("secret store"));
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct KafkaConfig {
    brokers: String,
    client_id: String,
    tls: Option<Tls>,
    sasl: Option<Sasl>,
    linger: Duration,
    queue_records: usize,
    queue_bytes: usize,
    extra: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// A cluster by the `host:port` of some of its brokers, separated by commas; plaintext, no login.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "relaybox".to_owned(),
            tls: None,
            sasl: None,
            linger: Duration::from_millis(5),
            queue_records: 100_000,
            queue_bytes: 256 * 1024 * 1024,
            extra: BTreeMap::new(),
        }
    }

    /// Sets the name by which the brokers' logs and quotas know this client; `relaybox` by default.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Encrypts, and verifies the broker's certificate and host name. Needs the feature `tls`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Logs in.
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Sets how long the producer waits for more records to send with one; 5 ms by default.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets how much the producer holds that the broker doesn't have yet: 100,000 records and
    /// 256 MiB by default.
    ///
    /// A record beyond is refused with [`ErrorKind::Unavailable`]. So keep what is in flight (batches
    /// times their size) below it.
    pub fn queue(mut self, records: usize, bytes: usize) -> Self {
        (self.queue_records, self.queue_bytes) = (records, bytes);
        self
    }

    /// Sets any other [setting of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md).
    ///
    /// A topic that takes batches above 1 MB needs `message.max.bytes` here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for the settings that the guarantees rest on, for those that have a
    /// method of their own, and for those that carry a secret: [`Tls`] and [`Sasl`] take these, and
    /// never show them. A setting that librdkafka doesn't know is refused when the client is made.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let lower = name.to_ascii_lowercase();
        if SECRET.iter().any(|part| lower.contains(part)) {
            return Err(Error::new(ErrorKind::Invalid, "configure Kafka").detail(format!(
                "{name} carries a secret or a key: use KafkaConfig::tls (Tls) or KafkaConfig::sasl \
                 (Sasl), which keep it out of logs"
            )));
        }
        if FIXED.contains(&name.as_str()) || FIXED_PREFIXES.iter().any(|p| name.starts_with(p)) {
            return Err(Error::new(ErrorKind::Invalid, "configure Kafka").detail(format!(
                "{name} is set by relaybox: a guarantee rests on it, or it has a method of its own"
            )));
        }
        self.extra.insert(name, value.into());
        Ok(self)
    }

    /// What is never shown.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let password = self.sasl.as_ref().map(Sasl::password);
        let key = self.tls.as_ref().and_then(Tls::password);
        password.into_iter().chain(key).cloned().collect()
    }

    /// The settings of a producer that loses and reorders nothing.
    pub(crate) fn producer(&self) -> Result<ClientConfig> {
        let mut config = self.client()?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            // Where Java's default partitioner puts a key, we do.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("queue.buffering.max.messages", self.queue_records.max(1).to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes / 1024).max(1).to_string())
            // So that an unknown topic is noticed: until then its records wait.
            .set("topic.metadata.propagation.max.ms", "5000");
        set_default(&mut config, "compression.type", "lz4");
        Ok(config)
    }

    /// The settings of a consumer whose offsets move only when told.
    pub(crate) fn consumer(&self) -> Result<ClientConfig> {
        let mut config = self.client()?;
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false")
            .set("isolation.level", "read_committed");
        set_default(&mut config, "partition.assignment.strategy", "cooperative-sticky");
        // What waits here for its turn: of each partition some batches, for each is polled by itself. A
        // full one asks again soon rather than after librdkafka's second.
        set_default(&mut config, "queued.min.messages", "2000");
        set_default(&mut config, "queued.max.messages.kbytes", "1024");
        set_default(&mut config, "fetch.queue.backoff.ms", "5");
        // Compressed bytes, which may be a tenth of what they become here: with librdkafka's megabyte a
        // partition, a backlog that compresses well takes hundreds of megabytes of memory. A producer's
        // batch comes as a whole even so.
        if config.get("max.partition.fetch.bytes").is_none() {
            set_default(&mut config, "fetch.message.max.bytes", "32768");
        }
        set_default(&mut config, "fetch.max.bytes", "131072");
        // Concerns producers, but `fetch.max.bytes` may not be below it.
        config.set("message.max.bytes", "1000");
        // A topic that is made after its consumer started is found so soon.
        set_default(&mut config, "topic.metadata.refresh.interval.ms", "10000");
        Ok(config)
    }

    /// The settings of any client.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let invalid = |what| Error::new(ErrorKind::Invalid, "configure Kafka").detail(what);
        if self.brokers.trim().is_empty() {
            return Err(invalid("no broker is named"));
        }
        if !cfg!(feature = "tls") && self.tls.is_some() {
            return Err(invalid("TLS needs the feature \"tls\" of relaybox-kafka"));
        }
        if !cfg!(feature = "tls") && self.sasl.as_ref().is_some_and(Sasl::is_scram) {
            return Err(invalid("SCRAM needs the feature \"tls\" of relaybox-kafka"));
        }
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        let mut config = ClientConfig::new();
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
            .set_log_level(log_level())
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("security.protocol", protocol);
        // librdkafka's ten seconds would make every outage last that much longer.
        set_default(&mut config, "reconnect.backoff.max.ms", "2000");
        if let Some(tls) = &self.tls {
            tls.apply(&mut config)?;
        }
        if let Some(sasl) = &self.sasl {
            sasl.apply(&mut config);
            if self.tls.is_none() && !sasl.is_scram() {
                tracing::warn!(
                    "SASL PLAIN without TLS sends the password over the network as it is"
                );
            }
        }
        Ok(config)
    }
}

/// Names of extra settings only: a value may be private nevertheless.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("client_id", &self.client_id)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("linger", &self.linger)
            .field("extra", &self.extra.keys())
            .finish_non_exhaustive()
    }
}

/// Settings that are not the user's, with librdkafka's other names for them.
const FIXED: &[&str] = &[
    "acks",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "enable.ssl.certificate.verification",
    "group.id",
    "group.protocol",
    "isolation.level",
    "linger.ms",
    "log.queue",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "plugin.library.paths",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "retries",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "transactional.id",
];
/// What is in the names of settings that carry secrets.
const SECRET: &[&str] = &["password", "secret", ".pem", "jaas", "oauthbearer.config", "private"];
const FIXED_PREFIXES: &[&str] = &["sasl.", "enable.sasl.", "test.mock."];

/// Sets what the user may have set otherwise.
fn set_default(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}

/// librdkafka makes no line that nobody would read.
fn log_level() -> RDKafkaLogLevel {
    if tracing::enabled!(target: "librdkafka", Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else if tracing::enabled!(target: "librdkafka", Level::INFO) {
        RDKafkaLogLevel::Info
    } else {
        RDKafkaLogLevel::Warning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_a_guarantee_rests_on_is_refused() {
        for name in [
            "enable.idempotence",
            "acks",
            "request.required.acks",
            "enable.auto.commit",
            "enable.ssl.certificate.verification",
            "ssl.endpoint.identification.algorithm",
            "enable.gapless.guarantee",
            "message.timeout.ms",
            "sasl.password",
        ] {
            let refused = KafkaConfig::new("localhost:1").set(name, "x").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }

    #[test]
    fn a_setting_that_carries_a_secret_is_refused_and_the_typed_way_named() {
        for name in [
            "ssl.keystore.password",
            "ssl.key.password",
            "SSL.key.PEM",
            "sasl.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "sasl.jaas.config",
            "ssl.private.key",
        ] {
            let refused = KafkaConfig::new("localhost:1").set(name, "hunter2").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            let text = format!("{refused} {refused:?}");
            assert!(text.contains(name) && text.contains("Tls") && text.contains("Sasl"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let config = KafkaConfig::new("localhost:1")
            .tls(Tls::new().key_password(Secret::new("pass-1")))
            .sasl(Sasl::plain("user", Secret::new("pass-2")))
            .set("client.rack", "pass-3")
            .unwrap();
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("pass-"), "{shown}");
    }

    #[test]
    fn an_extra_setting_wins_over_a_default() {
        let config = KafkaConfig::new("localhost:1").set("compression.type", "none").unwrap();
        assert_eq!(config.producer().unwrap().get("compression.type"), Some("none"));
        assert_eq!(config.producer().unwrap().get("acks"), Some("all"));
    }

    #[test]
    fn a_consumer_commits_only_when_told_and_rebalances_cooperatively_unless_told_otherwise() {
        let config = KafkaConfig::new("localhost:1");
        let settings = config.clone().consumer().unwrap();
        for (name, value) in [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ] {
            assert_eq!(settings.get(name), Some(value), "{name}");
        }
        let eager = config.set("partition.assignment.strategy", "range").unwrap();
        let eager = eager.consumer().unwrap();
        assert_eq!(eager.get("partition.assignment.strategy"), Some("range"));
    }

    #[test]
    fn what_concerns_producers_and_a_settings_other_name_are_no_trouble_to_a_consumer() {
        let config = KafkaConfig::new("localhost:1").set("message.max.bytes", "2000000").unwrap();
        let config = config.set("max.partition.fetch.bytes", "65536").unwrap();
        let settings = config.consumer().unwrap();
        assert_eq!(settings.get("max.partition.fetch.bytes"), Some("65536"));
        assert_eq!(settings.get("fetch.message.max.bytes"), None);
        settings.create::<rdkafka::consumer::BaseConsumer>().unwrap();
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_and_scram_without_the_feature_are_refused_by_name() {
        let base = || KafkaConfig::new("localhost:1");
        let scram = Sasl::scram_sha_512("user", Secret::new("password"));
        for config in [base().tls(Tls::new()), base().sasl(scram)] {
            let refused = config.producer().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            assert!(refused.to_string().contains("feature \"tls\""), "{refused}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn certificate_and_host_name_are_always_verified() {
        let config = KafkaConfig::new("localhost:1").tls(Tls::new()).producer().unwrap();
        assert_eq!(config.get("enable.ssl.certificate.verification"), Some("true"));
        assert_eq!(config.get("ssl.endpoint.identification.algorithm"), Some("https"));
    }
}
