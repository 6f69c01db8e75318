//! Connections that are cut, brokers that are silent, queues that are full.

use std::time::Duration;

use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use relaybox_core::{ErrorKind, EventBus, Retry};
use relaybox_rabbitmq::{RabbitBus, RabbitTopology};

use crate::support::{
    Broker, Proxy, assert_complete_and_ordered, config, kinds, on_broker, publish_numbers, record,
    relay, until, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_again_and_again_loses_and_reorders_nothing() {
    on_broker(async |broker: &Broker| {
        let (proxy, bus, queue) = broker.proxied_chain().await;
        let cutting = async {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                proxy.cut();
            }
            std::future::pending::<()>().await
        };
        let recovered = tokio::select! {
            recovered = relay(&bus, 7, 6_000) => recovered,
            () = cutting => unreachable!(),
        };
        assert!(recovered > 0, "no cut was noticed");
        let found = broker.take_all(queue.name().as_str()).await;
        assert_complete_and_ordered(found.iter().map(|raw| (raw.key(), raw.name())), 7, 6_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_in_full_flight_keeps_the_order() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        for _ in 0..5 {
            let numbers = (0..500).map(|n| record(&format!("k{}", n % 5), n.to_string()));
            let flight = bus.publish(numbers.collect());
            bus.recover().await.unwrap();
            let results = within(flight).await;
            let failed = kinds(&results).iter().position(Option::is_some).unwrap_or(500);
            assert!(kinds(&results)[failed..].iter().all(|k| *k == Some(ErrorKind::Halted)));
        }
        relay(&bus, 5, 500).await;
        let found = broker.take_all(queue.name().as_str()).await;
        assert_complete_and_ordered(found.iter().map(|raw| (raw.key(), raw.name())), 5, 500);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_and_recovered_from() {
    on_broker(async |broker: &Broker| {
        let (proxy, bus, _queue) = broker.proxied_chain().await;
        publish_numbers(&bus, "a", 0..1).await;
        proxy.close(true);
        let results = within(bus.publish(vec![record("a", "1"), record("b", "2")])).await;
        assert_eq!(kinds(&results), [Some(ErrorKind::Unavailable), Some(ErrorKind::Halted)]);
        assert_eq!(bus.recover().await.unwrap_err().kind(), ErrorKind::Unavailable);
        let results = within(bus.publish(vec![record("a", "1")])).await;
        assert_eq!(kinds(&results), [Some(ErrorKind::Halted)]);
        proxy.close(false);
        until(async || bus.recover().await.is_ok()).await;
        publish_numbers(&bus, "a", 1..3).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_never_confirms_is_given_up_on() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("#");
        let exchange = broker.declare(&queue).await;
        let proxy = Proxy::start(&broker.url).await;
        let bus = RabbitBus::builder(config(&proxy.url(&broker.url)))
            .exchange(exchange)
            .confirm_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        publish_numbers(&bus, "a", 0..1).await;
        proxy.silence(true);
        let results = within(bus.publish(vec![record("a", "1")])).await;
        let error = results[0].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::OutcomeUnknown));
        proxy.silence(false);
        until(async || bus.recover().await.is_ok()).await;
        publish_numbers(&bus, "a", 1..2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_the_events_wait() {
    on_broker(async |broker: &Broker| {
        let (exchange, queue) = (broker.name(), broker.name());
        RabbitTopology::new().exchange(exchange.clone()).declare(&broker.config()).await.unwrap();
        let (_connection, channel) = broker.channel().await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(3));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let name: lapin::types::ShortString = queue.as_str().into();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.clone(), durable, arguments).await.unwrap();
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(name, exchange.as_str().into(), "#".into(), options, none)
            .await
            .unwrap();

        let bus = broker.bus(&exchange);
        let results = bus.publish((0..6).map(|n| record("a", n.to_string())).collect()).await;
        let kinds = kinds(&results);
        assert_eq!(kinds[..3], [None; 3]);
        assert_eq!(kinds[3], Some(ErrorKind::TopicUnavailable));
        assert_eq!(kinds[4..], [Some(ErrorKind::Halted); 2]);
        let found = broker.take_all(queue.as_str()).await;
        assert_eq!(found.iter().map(|raw| raw.name()).collect::<Vec<_>>(), ["0", "1", "2"]);
        bus.recover().await.unwrap();
        publish_numbers(&bus, "a", 3..5).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_in_memory_that_is_full_refuses_rather_than_grow() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("#");
        let exchange = broker.declare(&queue).await;
        let bus = RabbitBus::builder(broker.config())
            .exchange(exchange)
            .queue(10, 1 << 20)
            .max_message_bytes(100)
            .build()
            .unwrap();
        let results = within(bus.publish((0..20).map(|n| record("a", n.to_string())).collect()));
        let kinds = kinds(&results.await);
        assert_eq!(kinds[..10], [None; 10]);
        assert_eq!(kinds[10], Some(ErrorKind::Unavailable));
        assert_eq!(kinds[11], Some(ErrorKind::Halted));
        bus.recover().await.unwrap();
        let large = within(bus.publish(vec![record("a", "x".repeat(101))])).await;
        assert_eq!(self::kinds(&large), [Some(ErrorKind::TooLarge)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_bus_resolves_what_is_in_flight() {
    on_broker(async |broker: &Broker| {
        let (proxy, bus, _queue) = broker.proxied_chain().await;
        publish_numbers(&bus, "a", 0..1).await;
        proxy.silence(true);
        let flight = bus.publish(vec![record("a", "1")]);
        drop(bus);
        assert_eq!(kinds(&within(flight).await), [Some(ErrorKind::Halted)]);
    })
    .await;
}
