//! What the consumer of a queue gave up on.

use std::time::Duration;

use chrono::Utc;
use relaybox::{
    ConsumerName, ErrorKind, EventBus, EventSource, Failure, Received, Record, TopicName,
    rabbitmq::{RabbitBus, RabbitConfig, RabbitQueue, RabbitSource, RabbitTopology},
};
use relaybox_tests::server;
use uuid::Uuid;

use crate::support::{event, run};

#[tokio::test]
async fn a_queues_dead_letters_are_listed_put_back_and_discarded() {
    let Some(url) = server("RELAYBOX_RABBITMQ_URL") else { return };
    let config = RabbitConfig::from_url(&url).unwrap();
    let name = format!("cli-{}", Uuid::new_v4().simple());
    let queue = RabbitQueue::new(name.clone()).unwrap().bind("#").retry_in_place();
    let exchange = TopicName::new(name.clone()).unwrap();
    let topology = RabbitTopology::new().exchange(exchange.clone()).queue(queue.clone());
    topology.declare(&config).await.unwrap();
    give_up(&config, &queue, exchange, 3).await;

    let folder = tempfile::tempdir().unwrap();
    let file = format!("[rabbitmq]\nurl = \"{url}\"\nqueues = [\"{name}\"]\n");
    std::fs::write(folder.path().join("relaybox.toml"), file).unwrap();
    let does = |what: &str, arguments: &[&str]| {
        run(folder.path(), &[&["dead-letters", what, "--queue", &name], arguments].concat())
    };
    let waiting = || does("list", &["--json"]).json().as_array().unwrap().len();
    let table = does("list", &[]).ok();
    assert!(table.contains("session.created.v1") && table.contains("timeout: it broke"), "{table}");
    let status = run(folder.path(), &["status", "--json"]).json();
    assert_eq!(status["dead_letter_queues"][0]["messages"], 3);

    let listed = does("list", &["--json"]).json();
    let (first, place) =
        (listed[0]["event_id"].as_str().unwrap(), listed[1]["at"].as_str().unwrap());
    assert!(does("show", &[first]).ok().contains(first));
    assert!(does("redrive", &["--event", first, "-n"]).ok().contains("1 to put back"));
    assert_eq!(waiting(), 3);
    assert_eq!(does("redrive", &["--event", first, "--json"]).json()["redriven"], 1);
    assert_eq!(waiting(), 2);
    assert!(does("discard", &[]).failed(1).contains("Discard 2 dead letters"));
    let at = format!("--at={place}");
    assert_eq!(does("discard", &[&at, "--dry-run", "--json"]).json()["discarded"], 1);
    assert_eq!(waiting(), 2);
    assert_eq!(does("discard", &[&at, "--yes", "--json"]).json()["discarded"], 1);
    assert_eq!(does("discard", &["--yes", "--json"]).json()["discarded"], 1);
    assert_eq!(waiting(), 0);
    does("discard", &["--at", "3:7", "--yes"]).failed(2);
    topology.delete(&config).await.unwrap();
}

/// Publishes so many events, receives them, and gives up on each.
async fn give_up(config: &RabbitConfig, queue: &RabbitQueue, exchange: TopicName, count: usize) {
    let bus = RabbitBus::builder(config.clone()).exchange(exchange).build().unwrap();
    let topic = TopicName::new("session-events.v1").unwrap();
    let records = (0..count).map(|_| Record::new(topic.clone(), event("s-1"))).collect();
    for result in bus.publish(records).await {
        result.unwrap();
    }
    let consumer = ConsumerName::new("notifications").unwrap();
    let source = RabbitSource::new(config.clone(), queue.clone()).unwrap();
    let mut given_up = 0;
    while given_up < count {
        let receiving = tokio::time::timeout(Duration::from_secs(60), source.receive());
        let Received::Batch { partition, deliveries } = receiving.await.unwrap().unwrap() else {
            continue;
        };
        for delivery in &deliveries {
            let (kind, why) = (ErrorKind::Timeout, "it broke".to_owned());
            let failure = Failure::new(consumer.clone(), kind, why, 5, Utc::now());
            source.dead_letter(delivery, &failure).await.unwrap();
        }
        given_up += deliveries.len();
        let last = deliveries.last().unwrap().offset;
        source.acknowledge(&partition, last).await.unwrap();
    }
    source.close().await.unwrap();
}
