//! A refusal in the middle of a pipeline, an outage, a recovery.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use relaybox_core::{ErrorKind, EventBus, Receipt, Retry, TopicName};
use relaybox_kafka::{EmbeddedCluster, KafkaBus, KafkaConfig};

use crate::support::{Cluster, client, on_both, record, unique_group, within};

/// What a relay does: several batches in flight; after a failure all land, the bus recovers, and the
/// first record without an acknowledgement is next. Gives how often it recovered.
async fn relay(bus: &KafkaBus, topic: &TopicName, keys: u32, total: u32) -> usize {
    let mut recovered = 0;
    let mut acknowledged = vec![false; usize::try_from(total).unwrap()];
    while let Some(first) = acknowledged.iter().position(|done| !done) {
        let waiting: Vec<_> = (first..acknowledged.len()).filter(|n| !acknowledged[*n]).collect();
        let flights: Vec<_> = waiting
            .chunks(50)
            .map(|numbers| {
                let records = numbers.iter().map(|n| {
                    let key = format!("k{}", n % usize::try_from(keys).unwrap());
                    record(topic, &key, n.to_string())
                });
                (numbers.to_vec(), bus.publish(records.collect()))
            })
            .collect();
        let mut failed = false;
        for (numbers, flight) in flights {
            for (n, result) in numbers.into_iter().zip(within(flight).await) {
                acknowledged[n] |= result.is_ok();
                failed |= result.is_err();
            }
        }
        if failed {
            within(bus.recover()).await.unwrap();
            recovered += 1;
        }
    }
    recovered
}

/// Every key's numbers, each where it first appears, are in order and complete.
async fn assert_complete_and_ordered(cluster: &Cluster, topic: &TopicName, keys: u32, total: u32) {
    let records = cluster.read(topic).await;
    for key in 0..keys {
        let name = format!("k{key}").into_bytes();
        let mut firsts = Vec::new();
        for number in records.iter().filter(|r| r.key.as_ref() == Some(&name)).map(|r| r.number()) {
            if !firsts.contains(&number) {
                firsts.push(number);
            }
        }
        let expected: Vec<_> = (0..total).filter(|n| n % keys == key).collect();
        assert_eq!(firsts, expected, "key {key}");
    }
}

on_both!(nothing_behind_a_record_the_client_refuses_is_acknowledged, async |cluster: Cluster| {
    let topic = cluster.topic(1).await;
    let config = cluster.config().set("message.max.bytes", "2000").unwrap();
    let bus = KafkaBus::new(config).unwrap();
    let call = |numbers: std::ops::Range<u32>| {
        let payload = |n: u32| if n == 15 { "x".repeat(5_000) } else { n.to_string() };
        bus.publish(numbers.map(|n| record(&topic, "k0", payload(n))).collect())
    };
    let (before, with, after) = (call(0..10), call(10..20), call(20..30));
    let kind = |result: &relaybox_core::Result<Receipt>| result.as_ref().err().map(|e| e.kind());
    assert!(before.await.iter().all(|result| result.is_ok()));
    let with: Vec<_> = with.await.iter().map(kind).collect();
    assert_eq!(with[..5], [None; 5]);
    assert_eq!(with[5], Some(ErrorKind::TooLarge));
    assert_eq!(with[6..], [Some(ErrorKind::Halted); 4]);
    assert!(after.await.iter().all(|result| kind(result) == Some(ErrorKind::Halted)));
    assert_eq!(cluster.read(&topic).await.len(), 15);

    bus.recover().await.unwrap();
    let rest = (16..30).map(|n| record(&topic, "k0", n.to_string())).collect();
    assert!(bus.publish(rest).await.iter().all(|result| result.is_ok()));
    let numbers: Vec<_> = cluster.read(&topic).await.iter().map(|r| r.number()).collect();
    assert_eq!(numbers, (0..30).filter(|n| *n != 15).collect::<Vec<_>>());
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_behind_a_record_the_broker_refuses_is_acknowledged() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = crate::support::unique_topic();
    cluster.make(&topic, 1, &[("max.message.bytes", "2000")]).await;
    // One record a batch, no compression: the broker refuses exactly the one that is too large.
    let config = cluster.config().set("batch.num.messages", "1").unwrap();
    let bus = KafkaBus::new(config.set("compression.type", "none").unwrap()).unwrap();
    let calls: Vec<_> = (0..30_u32)
        .map(|call| {
            let payload = |n: u32| if n == 50 { "x".repeat(5_000) } else { n.to_string() };
            let numbers = call * 10..(call + 1) * 10;
            bus.publish(numbers.map(|n| record(&topic, "k0", payload(n))).collect())
        })
        .collect();
    let mut results = Vec::new();
    for call in calls {
        results.extend(within(call).await);
    }
    assert!(results[..50].iter().all(|result| result.is_ok()));
    assert_eq!(results[50].as_ref().unwrap_err().kind(), ErrorKind::TooLarge);
    for result in &results[51..] {
        assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::Halted);
    }
    let numbers: Vec<_> = cluster.read(&topic).await.iter().map(|r| r.number()).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "the topic ends before the refused record");

    within(bus.recover()).await.unwrap();
    crate::support::publish_numbers(&bus, &topic, "k0", 51, 60).await;
    let numbers: Vec<_> = cluster.read(&topic).await.iter().map(|r| r.number()).collect();
    assert_eq!(numbers, (0..60).filter(|n| *n != 50).collect::<Vec<_>>());
}

on_both!(
    a_recovery_fails_what_is_in_flight_and_the_order_holds_after_it,
    async |cluster: Cluster| {
        let (topic, bus) = (cluster.topic(3).await, cluster.bus());
        for _ in 0..5 {
            let numbers =
                (0..500_u32).map(|n| record(&topic, &format!("k{}", n % 5), n.to_string()));
            let flight = bus.publish(numbers.collect());
            within(bus.recover()).await.unwrap();
            let results = within(flight).await;
            let failed = results.iter().filter_map(|result| result.as_ref().err());
            assert!(failed.clone().all(|e| e.kind() == ErrorKind::Halted));
            // The first ones of their keys were on their way, the others waited for them.
            let is_unknown = |result: &relaybox_core::Result<Receipt>| {
                result.as_ref().map_or_else(|e| e.retry() == Retry::OutcomeUnknown, |_| true)
            };
            assert!(results[..5].iter().all(is_unknown), "{:?}", &results[..5]);
        }
        relay(&bus, &topic, 5, 500).await;
        assert_complete_and_ordered(&cluster, &topic, 5, 500).await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_two_seconds_loses_and_reorders_nothing() {
    let embedded = EmbeddedCluster::start(1).unwrap();
    let bus = KafkaBus::new(KafkaConfig::new(embedded.brokers())).unwrap();
    let cluster = Cluster::Embedded(embedded);
    let topic = cluster.topic(3).await;
    let Cluster::Embedded(embedded) = &cluster else { unreachable!() };
    let outage = async {
        embedded.down().unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        embedded.up().unwrap();
    };
    let before = relay(&bus, &topic, 5, 200).await;
    let ((), recovered) = tokio::join!(outage, relay(&bus, &topic, 5, 1_000));
    assert_eq!((before, recovered), (0, 0), "an outage is waited for, not failed");
    assert_complete_and_ordered(&cluster, &topic, 5, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_works_while_no_broker_can_be_reached() {
    let cluster = EmbeddedCluster::start(1).unwrap();
    let bus = KafkaBus::new(KafkaConfig::new(cluster.brokers())).unwrap();
    let topic = crate::support::unique_topic();
    cluster.create_topic(&topic, 1).unwrap();
    crate::support::publish_numbers(&bus, &topic, "k", 0, 1).await;
    cluster.down().unwrap();
    let flight = bus.publish(vec![record(&topic, "k", "1")]);
    within(bus.recover()).await.unwrap();
    assert_eq!(flight.await.remove(0).unwrap_err().retry(), Retry::OutcomeUnknown);
    cluster.up().unwrap();
    within(bus.publish(vec![record(&topic, "k", "1")])).await.remove(0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_rather_than_grow() {
    let cluster = EmbeddedCluster::start(1).unwrap();
    let bus = KafkaBus::new(KafkaConfig::new(cluster.brokers()).queue(10, 1 << 20)).unwrap();
    let topic = crate::support::unique_topic();
    cluster.create_topic(&topic, 1).unwrap();
    cluster.down().unwrap();
    let flight = bus.publish((0..20).map(|n| record(&topic, "k", n.to_string())).collect());
    cluster.up().unwrap();
    let results = within(flight).await;
    assert_eq!(results[10].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(results[11].as_ref().unwrap_err().kind(), ErrorKind::Halted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_bus_resolves_what_is_in_flight() {
    let cluster = EmbeddedCluster::start(1).unwrap();
    let bus = KafkaBus::new(KafkaConfig::new(cluster.brokers())).unwrap();
    let topic = crate::support::unique_topic();
    cluster.create_topic(&topic, 1).unwrap();
    cluster.down().unwrap();
    let flight = bus.publish(vec![record(&topic, "k", "1")]);
    drop(bus);
    assert_eq!(within(flight).await[0].as_ref().unwrap_err().kind(), ErrorKind::Halted);
}

/// What the source's commits rest on: the client says so when the broker took a part of a list only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_which_the_broker_refuses_a_part_is_an_error() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = cluster.topic(1).await;
    let config = client(&cluster.brokers()).set("group.id", unique_group().as_str()).clone();
    let work = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let commit = |partitions: &[i32]| {
            let mut list = TopicPartitionList::new();
            for number in partitions {
                list.add_partition_offset(topic.as_str(), *number, Offset::Offset(0)).unwrap();
            }
            consumer.commit(&list, CommitMode::Sync)
        };
        commit(&[0]).unwrap();
        // The topic has no partition 99.
        for partitions in [[0, 99], [99, 0]] {
            assert!(commit(&partitions).is_err(), "{partitions:?}");
        }
    };
    within(tokio::task::spawn_blocking(work)).await.unwrap();
}
