//! What the bus puts on the broker.

use std::time::Duration;

use relaybox_core::{ErrorKind, EventBus, Label, PartitionKey, Retry, cloudevents};

use crate::support::{
    Broker, batch, kinds, on_broker, publish_numbers, record, record_of, until, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_a_persistent_message_with_its_attributes() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        let mut event = record("s-1", "payload");
        event.envelope.metadata.source = Label::new("accounts").unwrap();
        bus.publish(vec![event.clone()]).await.remove(0).unwrap();
        let found = broker.take_all(queue.name().as_str()).await.remove(0);
        assert_eq!(found.routing_key, "session.session.changed.v1");
        assert_eq!(found.body, b"payload");
        let properties = &found.properties;
        assert_eq!(properties.delivery_mode(), &Some(2));
        let text = |value: &Option<lapin::types::ShortString>| value.clone().unwrap().to_string();
        assert_eq!(text(properties.message_id()), event.envelope.event_id.to_string());
        assert_eq!(text(properties.kind()), "session.changed.v1");
        assert_eq!(text(properties.content_type()), "application/json");
        assert_eq!(text(properties.app_id()), "accounts");
        let seconds = u64::try_from(event.envelope.occurred_at.timestamp()).unwrap();
        assert_eq!(properties.timestamp(), &Some(seconds));
        assert_eq!(found.header("x-relaybox-topic").as_deref(), Some("session-events.v1"));
        assert_eq!(found.header("ce_id"), Some(event.envelope.event_id.to_string()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_arrives_byte_for_byte() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        let mut event = record("Grün / 7", "");
        event.envelope.payload = vec![0, 1, 0xff, b'"', 0].into();
        event.envelope.partition_key = Some(PartitionKey::new("tenant-7").unwrap());
        event.envelope.metadata.headers.insert("zone", "ü").unwrap();
        event.envelope.metadata.headers.insert("empty", "").unwrap();
        bus.publish(vec![event.clone()]).await.remove(0).unwrap();
        let (_, deliveries) = batch(&broker.source(&queue)).await;
        let delivery = &deliveries[0];
        let read = cloudevents::parse(
            delivery.key.as_deref(),
            delivery.headers(),
            delivery.value.clone().unwrap(),
        );
        assert_eq!(read.unwrap(), event.envelope);
        let mut headers = Vec::new();
        cloudevents::headers(&event.envelope, |name, value| {
            headers.push((name.into(), bytes::Bytes::copy_from_slice(value)));
        });
        assert_eq!(delivery.headers, headers);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_key_one_event_is_unconfirmed_at_a_time() {
    on_broker(async |broker: &Broker| {
        let (proxy, bus, queue) = broker.proxied_chain().await;
        publish_numbers(&bus, "warm", 0..1).await;
        broker.take_all(queue.name().as_str()).await;

        proxy.silence(true);
        let keys = ["a", "a", "b", "a", "b", "c"];
        let records = keys.iter().zip(0..).map(|(key, n)| record(key, n.to_string()));
        let flight = bus.publish(records.collect());
        // The first of each key arrives, though no confirm has come back.
        until(async || broker.length(queue.name().as_str()).await >= 3).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut found = broker.take_all(queue.name().as_str()).await;
        found.sort_by_key(|raw| raw.name());
        let first: Vec<_> = found.iter().map(|raw| (raw.key(), raw.name())).collect();
        let of = |key: &str, name: &str| (key.to_owned(), name.to_owned());
        assert_eq!(first, [of("a", "0"), of("b", "2"), of("c", "5")]);

        proxy.silence(false);
        assert_eq!(kinds(&within(flight).await), [None; 6]);
        let rest = broker.take_all(queue.name().as_str()).await;
        let of_a: Vec<_> =
            rest.iter().filter(|raw| raw.key() == "a").map(|raw| raw.name()).collect();
        assert_eq!((of_a, rest.len()), (vec!["1".to_owned(), "3".to_owned()], 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_a_queue_is_the_one_that_fails() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("session.#");
        let exchange = broker.declare(&queue).await;
        let bus = broker.bus(&exchange);
        // Often, and among many: the broker confirms several at once, in any order.
        for round in 0..20_usize {
            let at = 37 * (round + 1) % 300;
            let mut records: Vec<_> =
                (0..300).map(|n| record(&format!("k{}", n % 100), n.to_string())).collect();
            records[at] = record_of("invoice", "i-1", "secret payload");
            let results = bus.publish(records).await;
            let kinds = kinds(&results);
            let mut expected = vec![None; at];
            expected.push(Some(ErrorKind::TopicUnavailable));
            expected.resize(300, Some(ErrorKind::Halted));
            assert_eq!(kinds, expected, "round {round}");
            let error = results[at].as_ref().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("invoice.invoice.changed.v1"), "{text}");
            assert!(!text.contains("secret payload"), "{text}");
            assert_eq!(error.retry(), Retry::Later);
            let later = bus.publish(vec![record("a", "later")]).await;
            assert_eq!(self::kinds(&later), [Some(ErrorKind::Halted)]);
            bus.recover().await.unwrap();
        }
        publish_numbers(&bus, "a", 0..3).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_missing_is_named() {
    on_broker(async |broker: &Broker| {
        let exchange = broker.name();
        let bus = broker.bus(&exchange);
        assert_eq!(bus.check().await.unwrap_err().kind(), ErrorKind::TopicUnavailable);
        let results = bus.publish(vec![record("a", "0"), record("b", "1")]).await;
        assert_eq!(kinds(&results), [Some(ErrorKind::TopicUnavailable), Some(ErrorKind::Halted)]);
        let error = relaybox_core::error_chain(results[0].as_ref().unwrap_err());
        assert!(error.contains(exchange.as_str()), "{error}");
    })
    .await;
}
