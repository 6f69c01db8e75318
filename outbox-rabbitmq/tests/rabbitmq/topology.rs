//! Declaring what must exist.

use std::time::Duration;

use relaybox_core::ErrorKind;
use relaybox_rabbitmq::RabbitTopology;

use crate::support::{Broker, kinds, on_broker, publish_numbers, record_of};
use relaybox_core::EventBus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declaring_again_changes_nothing() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("session.#").single_active_consumer();
        let exchange = broker.declare(&queue).await;
        publish_numbers(&broker.bus(&exchange), "a", 0..3).await;
        let topology = RabbitTopology::new().exchange(exchange).queue(queue.clone());
        for _ in 0..2 {
            topology.declare(&broker.config()).await.unwrap();
        }
        assert_eq!(broker.length(queue.name().as_str()).await, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_settings_is_named_with_what_to_do() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("#");
        let exchange = broker.declare(&queue).await;
        for other in [
            queue.clone().quorum(),
            queue.clone().single_active_consumer(),
            queue.clone().message_ttl(Duration::from_secs(60)),
        ] {
            let topology = RabbitTopology::new().exchange(exchange.clone()).queue(other);
            let error = topology.declare(&broker.config()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let text = error.to_string();
            assert!(text.contains(queue.name().as_str()) && text.contains("delete it"), "{text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_takes_an_aggregate_types_events_and_no_others() {
    on_broker(async |broker: &Broker| {
        let queue = broker.queue().bind("session.#");
        let exchange = broker.declare(&queue).await;
        let bus = broker.bus(&exchange);
        publish_numbers(&bus, "a", 0..2).await;
        let other = bus.publish(vec![record_of("invoice", "i", "x")]).await;
        assert_eq!(kinds(&other), [Some(ErrorKind::TopicUnavailable)]);
        assert_eq!(broker.length(queue.name().as_str()).await, 2);
    })
    .await;
}
