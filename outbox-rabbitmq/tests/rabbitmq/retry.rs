//! Delayed redelivery, and dead letters.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, ShortString},
};
use relaybox_core::{Delivery, ErrorKind, EventSource, Offset, Partition};
use relaybox_rabbitmq::RabbitSource;

use crate::support::{
    Broker, batch, drain, failure, name, names, on_broker, publish_numbers, until, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_put_off_comes_back_later_with_its_count() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..1).await;
        let source = broker.source(&queue);
        let (mut partition, mut deliveries) = batch(&source).await;
        let first = deliveries[0].clone();
        for attempts in 0..3 {
            let delivery = &deliveries[0];
            assert_eq!((delivery.attempts, delivery.place), (attempts, first.place));
            assert_eq!((&delivery.key, &delivery.headers), (&first.key, &first.headers));
            let began = Instant::now();
            let redelivery = source.redelivery().unwrap();
            // 1 s takes the level of 1.6 s: long enough for what overtakes it.
            let delay = Duration::from_secs(1);
            redelivery.deliver_later(delivery, &failure(), delay).await.unwrap();
            source.acknowledge(&partition, delivery.offset).await.unwrap();
            publish_numbers(&bus, "b", attempts..attempts + 1).await;
            assert_eq!(names(&drain(&source, 1).await), [attempts.to_string()], "it is overtaken");
            (partition, deliveries) = batch(&source).await;
            assert!(began.elapsed() >= Duration::from_millis(1_600));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_put_off_survives_its_consumer() {
    on_broker(async |broker: &Broker| {
        for queue in [broker.queue().bind("#"), broker.queue().bind("#").quorum()] {
            let bus = broker.bus(&broker.declare(&queue).await);
            publish_numbers(&bus, "a", 0..1).await;
            let source = broker.source(&queue);
            let (partition, deliveries) = batch(&source).await;
            let delay = Duration::from_secs(1);
            let redelivery = source.redelivery().unwrap();
            redelivery.deliver_later(&deliveries[0], &failure(), delay).await.unwrap();
            source.acknowledge(&partition, deliveries[0].offset).await.unwrap();
            source.close().await.unwrap();
            drop(source);
            // Put off, or back by now.
            let waiting = format!("{}.retry.1600", queue.name());
            until(async || {
                broker.length(&waiting).await + broker.length(queue.name().as_str()).await == 1
            })
            .await;
            let again = drain(&broker.source(&queue), 1).await;
            assert_eq!((name(&again[0]), again[0].attempts), ("0".to_owned(), 1));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_putting_off_and_acknowledging_repeats_and_loses_nothing() {
    on_broker(async |broker: &Broker| {
        let (bus, queue) = broker.chain().await;
        publish_numbers(&bus, "a", 0..1).await;
        let source = broker.source(&queue);
        let (_, deliveries) = batch(&source).await;
        let redelivery = source.redelivery().unwrap();
        let delay = Duration::from_millis(1);
        redelivery.deliver_later(&deliveries[0], &failure(), delay).await.unwrap();
        drop(source);
        let mut again = drain(&broker.source(&queue), 2).await;
        again.sort_by_key(|delivery| delivery.attempts);
        let seen: Vec<_> = again.iter().map(|d| (name(d), d.attempts, d.place)).collect();
        let place = deliveries[0].place;
        assert_eq!(seen, [("0".to_owned(), 0, place), ("0".to_owned(), 1, place)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_retried_in_place_has_no_waiting_queues() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("#").retry_in_place();
        broker.declare(&queue).await;
        assert!(broker.source(&queue).redelivery().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_message_is_kept_whole_when_it_is_given_up_on() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue();
        broker.declare(&queue).await;
        let headers = BTreeMap::from([
            (ShortString::from("n"), AMQPValue::LongInt(-7)),
            (ShortString::from("raw"), AMQPValue::LongString(vec![0xff, 0].into())),
            (ShortString::from("list"), AMQPValue::FieldArray(vec![AMQPValue::Void].into())),
            (ShortString::from("dlq-error"), AMQPValue::LongString("theirs".into())),
        ]);
        let properties = BasicProperties::default()
            .with_headers(headers.clone().into())
            .with_content_type("text/plain".into())
            .with_correlation_id("c-1".into());
        broker.put(queue.name().as_str(), properties, &[0, 0xfe]).await;
        let source = broker.source(&queue);
        let (partition, deliveries) = batch(&source).await;
        source.dead_letter(&deliveries[0], &failure()).await.unwrap();
        // It is there before dead_letter returns.
        let letter = broker.take_all(queue.dead_letter_queue().as_str()).await.remove(0);
        source.acknowledge(&partition, deliveries[0].offset).await.unwrap();
        assert_eq!(letter.body, [0, 0xfe]);
        assert_eq!(letter.properties.content_type(), &Some("text/plain".into()));
        assert_eq!(letter.properties.correlation_id(), &Some("c-1".into()));
        assert_eq!(letter.properties.delivery_mode(), &Some(2));
        let kept = letter.properties.headers().clone().unwrap();
        for name in ["n", "raw", "list"] {
            assert_eq!(kept.inner().get(name), headers.get(name), "{name}");
        }
        assert_eq!(letter.header("dlq-error").as_deref(), Some("too slow"));
        assert_eq!(letter.header("dlq-consumer").as_deref(), Some("notifications"));
        assert_eq!(letter.header("dlq-original-topic").as_deref(), Some(queue.name().as_str()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_no_queue_takes_is_an_error() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue();
        broker.declare(&queue).await;
        let source = RabbitSource::new(broker.config(), queue.clone()).unwrap();
        let mut delivery = Delivery::new(Partition::new(queue.name().clone(), 0, 9), 1 as Offset);
        delivery.value = Some(Bytes::from_static(b"x"));
        source.dead_letter(&delivery, &failure()).await.unwrap();
        let (_connection, channel) = broker.channel().await;
        let letters = queue.dead_letter_queue();
        let name = || ShortString::from(letters.as_str());
        channel.queue_delete(name(), Default::default()).await.unwrap();
        let error = within(source.dead_letter(&delivery, &failure())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
        channel.exchange_delete(name(), Default::default()).await.unwrap();
        let error = within(source.dead_letter(&delivery, &failure())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
        broker.declare(&queue).await;
        within(source.dead_letter(&delivery, &failure())).await.unwrap();
    })
    .await;
}
