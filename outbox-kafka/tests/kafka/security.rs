//! Who is let in, and what is said to those who are not.

use std::time::Duration;

use relaybox_core::{Error, ErrorKind, EventBus, EventSource, error_chain};
use relaybox_kafka::{KafkaAdmin, KafkaBus, KafkaConfig, KafkaSource, Sasl, Secret, TopicSpec};

use crate::support::{record, server, unique_group, unique_topic, within};

const WRONG: &str = "a-wrong-password-123";
const TIMEOUT: Duration = Duration::from_secs(20);

struct Server {
    sasl: String,
    user: String,
    password: String,
}

impl Server {
    fn from_env() -> Option<Self> {
        Some(Self {
            sasl: server("RELAYBOX_KAFKA_SASL_BROKERS")?,
            user: server("RELAYBOX_KAFKA_USER")?,
            password: server("RELAYBOX_KAFKA_PASSWORD")?,
        })
    }

    fn plain(&self, password: &str) -> KafkaConfig {
        KafkaConfig::new(&self.sasl).sasl(Sasl::plain(&self.user, Secret::new(password)))
    }
}

fn assert_refused(error: &Error, cause: &str, secret: &str) {
    let text = error_chain(error).to_lowercase();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{text}");
    assert!(text.contains(cause), "{text}");
    let shown = format!("{text} {error:?}");
    assert!(!shown.contains(secret) && !shown.contains("://"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_login_is_let_in_and_a_wrong_password_is_named() {
    let Some(server) = Server::from_env() else { return };
    KafkaBus::new(server.plain(&server.password)).unwrap().check(TIMEOUT).await.unwrap();
    let bus = KafkaBus::new(server.plain(WRONG)).unwrap();
    assert_refused(&bus.check(TIMEOUT).await.unwrap_err(), "authentication failed", WRONG);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_says_why_it_is_refused() {
    let Some(server) = Server::from_env() else { return };
    let bus = KafkaBus::new(server.plain(WRONG)).unwrap();
    // Records don't wait for a password that will never be right.
    let topic = unique_topic();
    let result = within(bus.publish(vec![record(&topic, "k", "1")])).await.remove(0);
    assert_refused(&result.unwrap_err(), "authentication failed", WRONG);
    let source =
        KafkaSource::new(server.plain(WRONG), unique_group(), vec![topic.clone()]).unwrap();
    assert_refused(&within(source.receive()).await.unwrap_err(), "authentication failed", WRONG);
    source.close().await.unwrap();
    let admin = KafkaAdmin::new(server.plain(WRONG)).unwrap();
    let error = within(admin.ensure_topics(&[TopicSpec::new(topic, 1, 1)])).await.unwrap_err();
    assert_refused(&error, "authentication failed", WRONG);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_let_in_makes_topics_and_publishes() {
    let Some(server) = Server::from_env() else { return };
    let admin = KafkaAdmin::new(server.plain(&server.password)).unwrap();
    let topic = unique_topic();
    let made = admin.ensure_topics(&[TopicSpec::new(topic.clone(), 1, 1)]).await.unwrap();
    assert_eq!(made.len(), 1);
    let bus = KafkaBus::new(server.plain(&server.password)).unwrap();
    within(bus.publish(vec![record(&topic, "k", "1")])).await.remove(0).unwrap();
}

#[cfg(feature = "tls")]
mod tls {
    use relaybox_core::Received;
    use relaybox_kafka::Tls;

    use super::*;
    use crate::support::publish_numbers;

    fn scram(server: &Server, brokers: &str, password: &str) -> KafkaConfig {
        KafkaConfig::new(brokers).sasl(Sasl::scram_sha_512(&server.user, Secret::new(password)))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn scram_over_tls_publishes_and_receives() {
        let Some(credentials) = Server::from_env() else { return };
        let Some(brokers) = server("RELAYBOX_KAFKA_SASL_SSL_BROKERS") else { return };
        let Some(ca) = server("RELAYBOX_KAFKA_CA_FILE") else { return };
        let config =
            scram(&credentials, &brokers, &credentials.password).tls(Tls::new().ca_file(ca));
        let topic = unique_topic();
        let admin = KafkaAdmin::new(config.clone()).unwrap();
        let made = admin.ensure_topics(&[TopicSpec::new(topic.clone(), 1, 1)]).await.unwrap();
        assert_eq!(made.len(), 1);
        publish_numbers(&KafkaBus::new(config.clone()).unwrap(), &topic, "k", 0, 3).await;
        let source = KafkaSource::new(config, unique_group(), vec![topic]).unwrap();
        let received = within(source.receive()).await.unwrap();
        assert!(matches!(received, Received::Batch { .. }));
        source.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_wrong_scram_password_is_named() {
        let Some(credentials) = Server::from_env() else { return };
        let bus = KafkaBus::new(scram(&credentials, &credentials.sasl, WRONG)).unwrap();
        assert_refused(&bus.check(TIMEOUT).await.unwrap_err(), "authentication failed", WRONG);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tls_without_a_login_is_let_in() {
        let Some(brokers) = server("RELAYBOX_KAFKA_SSL_BROKERS") else { return };
        let Some(ca) = server("RELAYBOX_KAFKA_CA_FILE") else { return };
        let config = KafkaConfig::new(brokers).tls(Tls::new().ca_file(ca));
        KafkaBus::new(config).unwrap().check(TIMEOUT).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_unknown_authority_is_named() {
        let Some(brokers) = server("RELAYBOX_KAFKA_SSL_BROKERS") else { return };
        let Some(other) = server("RELAYBOX_KAFKA_OTHER_CA_FILE") else { return };
        let tls = [Tls::new().ca_file(other), Tls::new()];
        for tls in tls {
            let bus = KafkaBus::new(KafkaConfig::new(&brokers).tls(tls)).unwrap();
            assert_refused(&bus.check(TIMEOUT).await.unwrap_err(), "certificate", "no secret");
        }
    }

    #[tokio::test]
    async fn a_certificate_file_that_is_not_there_is_named_at_once() {
        let tls = Tls::new().ca_file("/no/such/file.pem");
        let error = KafkaBus::new(KafkaConfig::new("127.0.0.1:1").tls(tls)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("ssl.ca.location"), "{error}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_without_the_feature_is_refused_at_construction() {
    let config = || KafkaConfig::new("127.0.0.1:1").tls(relaybox_kafka::Tls::new());
    let topic = unique_topic();
    for error in [
        KafkaBus::new(config()).unwrap_err(),
        KafkaAdmin::new(config()).unwrap_err(),
        KafkaSource::new(config(), unique_group(), vec![topic]).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("feature \"tls\""), "{error}");
    }
}
