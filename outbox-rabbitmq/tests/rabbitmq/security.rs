//! Who may, who may not, and what errors say about it.

use relaybox_core::{ErrorKind, EventBus, EventSource, error_chain};
use relaybox_rabbitmq::{RabbitBus, RabbitConfig, RabbitSource, RabbitTopology, Secret};

use crate::support::{Broker, kinds, on_broker, publish_numbers, record, server, within};

fn password(url: &str) -> &str {
    let (login, _) = url.rsplit_once('@').unwrap();
    login.rsplit_once(':').unwrap().1
}

async fn error_of(config: RabbitConfig) -> relaybox_core::Error {
    let bus = RabbitBus::new(config).unwrap();
    within(bus.publish(vec![record("a", "0")])).await.remove(0).unwrap_err()
}

fn assert_secret_free(error: &relaybox_core::Error, secrets: &[&str]) {
    let text = format!("{} {error:?}", error_chain(error));
    assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    assert!(!text.contains("amqp://"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_or_virtual_host_is_an_authentication_error_without_secrets() {
    on_broker(async |broker: &Broker| {
        let wrong = broker.config().login("relaybox", Secret::new("hunter2"));
        let nowhere = broker.config().vhost("nowhere");
        for config in [wrong, nowhere] {
            let error = error_of(config.clone()).await;
            assert_eq!(error.kind(), ErrorKind::Authentication, "{}", error_chain(&error));
            assert_secret_free(&error, &["hunter2", password(&broker.url)]);
            let source = RabbitSource::new(config, broker.queue()).unwrap();
            let error = within(source.receive()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{}", error_chain(&error));
            assert_secret_free(&error, &["hunter2", password(&broker.url)]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_holds_back_and_blames_no_event() {
    on_broker(async |broker: &Broker| {
        let Some(guest) = server("RELAYBOX_RABBITMQ_GUEST") else { return };
        let queue = broker.queue().bind("#");
        let exchange = broker.declare(&queue).await;
        let config = broker.config().login(guest, Secret::new(password(&broker.url)));
        let bus = RabbitBus::builder(config.clone()).exchange(exchange.clone()).build().unwrap();
        for _ in 0..2 {
            let results = within(bus.publish(vec![record("a", "0"), record("b", "1")])).await;
            let expected = [Some(ErrorKind::TopicUnavailable), Some(ErrorKind::Halted)];
            assert_eq!(kinds(&results), expected);
            let error = results[0].as_ref().unwrap_err();
            assert_secret_free(error, &[password(&broker.url)]);
            bus.recover().await.unwrap();
        }
        let declared = RabbitTopology::new().exchange(broker.name()).declare(&config).await;
        assert_eq!(declared.unwrap_err().kind(), ErrorKind::TopicUnavailable);
        // It may read.
        publish_numbers(&broker.bus(&exchange), "a", 0..1).await;
        let source = RabbitSource::new(config, queue).unwrap();
        crate::support::drain(&source, 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_is_unavailable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = RabbitConfig::new("127.0.0.1").port(free);
    assert_eq!(error_of(config.clone()).await.kind(), ErrorKind::Unavailable);
    let source =
        RabbitSource::new(config, relaybox_rabbitmq::RabbitQueue::new("q").unwrap()).unwrap();
    assert_eq!(within(source.receive()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    source.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_says_nothing_is_given_up_on_in_time() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = RabbitConfig::new("127.0.0.1")
        .port(deaf.local_addr().unwrap().port())
        .connect_timeout(std::time::Duration::from_millis(300));
    assert_eq!(error_of(config).await.kind(), ErrorKind::Unavailable);
}

#[cfg(feature = "tls")]
mod tls {
    use relaybox_core::EventBus;
    use relaybox_rabbitmq::{RabbitBus, Tls};

    use super::{ErrorKind, assert_secret_free, error_chain, error_of, password};
    use crate::support::{config, on_broker_at, publish_numbers, record, server, within};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_brokers_certificate_is_verified() {
        let Some(url) = server("RELAYBOX_RABBITMQ_URL") else { return };
        let Some(secure) = server("RELAYBOX_RABBITMQ_TLS_URL") else { return };
        let Some(ca) = server("RELAYBOX_RABBITMQ_CA_FILE") else { return };
        let Some(other) = server("RELAYBOX_RABBITMQ_OTHER_CA_FILE") else { return };
        on_broker_at(url, async |broker| {
            let queue = broker.queue().bind("#");
            let exchange = broker.declare(&queue).await;
            let trusting = config(&secure).tls(Tls::new().ca_file(ca));
            let bus = RabbitBus::builder(trusting).exchange(exchange).build().unwrap();
            publish_numbers(&bus, "a", 0..1).await;
            assert_eq!(broker.length(queue.name().as_str()).await, 1);

            for wrong in [config(&secure), config(&secure).tls(Tls::new().ca_file(other))] {
                let error = error_of(wrong).await;
                assert_eq!(error.kind(), ErrorKind::Authentication, "{}", error_chain(&error));
                assert_secret_free(&error, &[password(&secure)]);
            }
            let missing = config(&secure).tls(Tls::new().ca_file("/does/not/exist"));
            let bus = RabbitBus::new(missing).unwrap();
            let error = within(bus.publish(vec![record("a", "0")])).await.remove(0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        })
        .await;
    }
}
