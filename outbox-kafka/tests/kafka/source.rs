//! What a source gives, and when.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use relaybox_core::{ErrorKind, EventBus, EventSource};
use relaybox_kafka::{KafkaConfig, KafkaSource, StartAt};

use crate::support::{
    Cluster, PATIENCE, batch, client, on_both, publish_numbers, publish_together, unique_group,
    unique_topic, values, within,
};

/// Long enough for what must not come to come.
const A_WHILE: Duration = Duration::from_millis(500);

fn source(cluster: &Cluster, topic: &relaybox_core::TopicName) -> KafkaSource {
    KafkaSource::new(cluster.config(), unique_group(), vec![topic.clone()]).unwrap()
}

on_both!(a_partition_gives_one_batch_at_a_time_in_order, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    publish_numbers(&bus, &topic, "k", 0, 25).await;
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .max_batch(10)
        .build()
        .unwrap();
    let mut seen = Vec::new();
    while seen.len() < 25 {
        let (partition, deliveries) = batch(&source).await;
        assert!(deliveries.len() <= 10);
        seen.extend(values(&deliveries));
        let second = tokio::time::timeout(A_WHILE, source.receive()).await;
        assert!(second.is_err(), "a batch is out: {second:?}");
        source.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
    }
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    source.close().await.unwrap();
});

on_both!(a_batch_ends_with_the_record_that_passes_its_bytes, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    let payload = |n: u32| format!("{n:01000}");
    let records = (0..10).map(|n| crate::support::record(&topic, "k", payload(n))).collect();
    assert!(bus.publish(records).await.iter().all(Result::is_ok));
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .max_batch_bytes(2_500)
        .build()
        .unwrap();
    let mut seen = 0;
    while seen < 10 {
        let (partition, deliveries) = batch(&source).await;
        assert!(deliveries.len() <= 3, "{}", deliveries.len());
        seen += deliveries.len();
        source.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
    }
    source.close().await.unwrap();
});

on_both!(what_was_not_acknowledged_comes_again_to_the_next_member, async |cluster: Cluster| {
    let (topic, bus, group) = (cluster.topic(1).await, cluster.bus(), unique_group());
    publish_numbers(&bus, &topic, "k", 0, 20).await;
    let join = || {
        KafkaSource::builder(cluster.config(), group.clone(), vec![topic.clone()])
            .max_batch(10)
            .build()
    };
    let first = join().unwrap();
    let (partition, deliveries) = batch(&first).await;
    first.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
    let acknowledged = u32::try_from(deliveries.len()).unwrap();
    let (_, out) = batch(&first).await;
    assert_eq!(values(&out)[0], acknowledged);
    first.close().await.unwrap();

    let second = join().unwrap();
    let (_, again) = batch(&second).await;
    assert_eq!(values(&again)[0], acknowledged, "the acknowledged ones are over, the rest is not");
    second.close().await.unwrap();
});

on_both!(a_released_batch_comes_again_before_anything_behind_it, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    publish_numbers(&bus, &topic, "k", 0, 30).await;
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .max_batch(10)
        .build()
        .unwrap();
    for _ in 0..3 {
        let (partition, deliveries) = batch(&source).await;
        assert_eq!(values(&deliveries)[0], 0);
        source.release(&partition).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 30 {
        let (partition, deliveries) = batch(&source).await;
        seen.extend(values(&deliveries));
        source.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
    }
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    source.close().await.unwrap();
});

on_both!(
    after_half_a_batch_was_acknowledged_and_the_rest_released_the_next_begins_with_the_rest,
    async |cluster: Cluster| {
        let topic = cluster.topic(1).await;
        publish_together(&cluster, &topic, 10).await;
        let source = source(&cluster, &topic);
        let (partition, deliveries) = batch(&source).await;
        assert_eq!(deliveries.len(), 10);
        source.acknowledge(&partition, deliveries[3].offset).await.unwrap();
        source.release(&partition).await.unwrap();
        let (_, rest) = batch(&source).await;
        assert_eq!(values(&rest)[0], 4);
        source.close().await.unwrap();
    }
);

on_both!(a_dropped_receive_loses_nothing, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    let source = source(&cluster, &topic);
    let publish = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        publish_numbers(&bus, &topic, "k", 0, 1).await;
    };
    let impatient = async {
        loop {
            let received = tokio::time::timeout(Duration::from_millis(20), source.receive()).await;
            if let Ok(received) = received {
                return received.unwrap();
            }
        }
    };
    // `on_both` tells when nothing ever comes.
    tokio::join!(publish, impatient);
    source.close().await.unwrap();
});

on_both!(records_come_byte_for_byte, async |cluster: Cluster| {
    let topic = cluster.topic(1).await;
    let producer: BaseProducer = client(&cluster.brokers()).create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "b", value: Some(&[0xff_u8, 0x00][..]) })
        .insert(Header { key: "a", value: None::<&[u8]> })
        .insert(Header { key: "b", value: Some(&b"again"[..]) });
    let full = BaseRecord::<[u8], [u8]>::to(topic.as_str());
    producer.send(full.key(&[1, 0xfe]).payload(&[0xfd]).headers(headers)).unwrap();
    producer.send(BaseRecord::<[u8], [u8]>::to(topic.as_str())).unwrap();
    producer.flush(PATIENCE).unwrap();

    let source = source(&cluster, &topic);
    let mut all = Vec::new();
    while all.len() < 2 {
        let (partition, deliveries) = batch(&source).await;
        source.acknowledge(&partition, deliveries.last().unwrap().offset).await.unwrap();
        all.extend(deliveries);
    }
    assert_eq!(all[0].key.as_deref(), Some(&[1, 0xfe][..]));
    assert_eq!(all[0].value.as_deref(), Some(&[0xfd][..]));
    let headers: Vec<_> = all[0].headers().collect();
    assert_eq!(headers, [("b", &[0xff, 0x00][..]), ("a", &[][..]), ("b", &b"again"[..])]);
    assert!(all[0].timestamp.is_some());
    assert_eq!((all[1].key.as_ref(), all[1].value.as_ref()), (None, None));
    source.close().await.unwrap();
});

on_both!(partitions_take_turns, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(4).await, cluster.bus());
    for key in 0..40 {
        publish_numbers(&bus, &topic, &format!("k{key}"), 0, 5).await;
    }
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .max_batch(5)
        .build()
        .unwrap();
    let mut partitions = std::collections::BTreeSet::new();
    let mut out = Vec::new();
    // A batch of each can be out at the same time.
    while partitions.len() < 4 {
        let (partition, deliveries) = batch(&source).await;
        assert!(partitions.insert(partition.number), "one batch a partition");
        out.push((partition, deliveries.last().unwrap().offset));
    }
    for (partition, through) in out {
        source.acknowledge(&partition, through).await.unwrap();
    }
    source.close().await.unwrap();
});

on_both!(a_group_that_starts_at_the_latest_misses_what_was_before, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    publish_numbers(&bus, &topic, "k", 0, 5).await;
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .start_at(StartAt::Latest)
        .build()
        .unwrap();
    // It has no offset until it has looked, so write until it has.
    let mut next = 5;
    let (_, deliveries) = loop {
        publish_numbers(&bus, &topic, "k", next, next + 1).await;
        next += 1;
        tokio::select! {
            received = batch(&source) => break received,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    };
    assert!(values(&deliveries)[0] >= 5);
    source.close().await.unwrap();
});

// The mock knows no times: it finds no record as new, whatever is asked.
on_both!(a_group_that_starts_at_a_time_to_come_misses_what_was_before, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    publish_numbers(&bus, &topic, "k", 0, 5).await;
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .start_at(StartAt::Timestamp(Utc::now() + Duration::from_secs(3600)))
        .build()
        .unwrap();
    let mut next = 5;
    let (_, deliveries) = loop {
        publish_numbers(&bus, &topic, "k", next, next + 1).await;
        next += 1;
        tokio::select! {
            received = batch(&source) => break received,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    };
    assert!(values(&deliveries)[0] >= 5);
    source.close().await.unwrap();
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_starts_at_a_time_on_every_partition_and_later_where_it_was() {
    let Some(cluster) = Cluster::broker() else { return };
    let (topic, group) = (cluster.topic(2).await, unique_group());
    let start = Utc::now() - Duration::from_secs(3600);
    let write = async |partition: i32| {
        let records = (0..10).map(|n| (n, start + Duration::from_secs(n) - Duration::from_secs(5)));
        write_at(&cluster, &topic, partition, records.collect()).await;
    };
    write(0).await;
    write(1).await;
    let join = || {
        let config = cluster.config().set("topic.metadata.refresh.interval.ms", "500").unwrap();
        KafkaSource::builder(config, group.clone(), vec![topic.clone()])
            .start_at(StartAt::Timestamp(start))
            .max_batch(2)
            .build()
            .unwrap()
    };
    let first = join();
    for _ in 0..2 {
        let (partition, deliveries) = batch(&first).await;
        assert_eq!(deliveries[0].offset, 5, "{partition}");
        if partition.number == 0 {
            first.acknowledge(&partition, 5).await.unwrap();
        }
    }
    first.close().await.unwrap();

    // Partition 0 has an offset now, 1 still has none, and 2 is new.
    add_partition(&cluster, &topic, 3).await;
    write(2).await;
    let second = join();
    let mut begins = std::collections::BTreeMap::new();
    while begins.len() < 3 {
        let (partition, deliveries) = batch(&second).await;
        begins.insert(partition.number, deliveries[0].offset);
    }
    assert_eq!(begins, [(0, 6), (1, 5), (2, 5)].into());
    add_partition(&cluster, &topic, 4).await;
    write(3).await;
    let (partition, deliveries) = batch(&second).await;
    assert_eq!((partition.number, deliveries[0].offset), (3, 5), "it appeared while we ran");
    second.close().await.unwrap();
}

/// Writes records with these numbers as values, at these times.
async fn write_at(
    cluster: &Cluster,
    topic: &relaybox_core::TopicName,
    partition: i32,
    records: Vec<(u64, DateTime<Utc>)>,
) {
    let (brokers, topic) = (cluster.brokers(), topic.clone());
    let write = move || {
        let producer: BaseProducer = client(&brokers).create().unwrap();
        for (n, time) in records {
            let payload = n.to_string();
            let record = BaseRecord::<str, str>::to(topic.as_str()).partition(partition);
            let record = record.payload(&payload).timestamp(time.timestamp_millis());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    };
    tokio::task::spawn_blocking(write).await.unwrap();
}

async fn add_partition(cluster: &Cluster, topic: &relaybox_core::TopicName, count: usize) {
    let admin: AdminClient<_> = client(&cluster.brokers()).create().unwrap();
    let more = NewPartitions::new(topic.as_str(), count);
    let added = admin.create_partitions(&[more], &AdminOptions::new()).await.unwrap();
    added[0].as_ref().unwrap();
    let shown = || {
        let metadata = admin.inner().fetch_metadata(Some(topic.as_str()), PATIENCE).unwrap();
        metadata.topics()[0].partitions().len() == count
    };
    while !shown() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

on_both!(a_closed_source_gives_and_takes_nothing, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    publish_numbers(&bus, &topic, "k", 0, 1).await;
    let source = source(&cluster, &topic);
    let (partition, deliveries) = batch(&source).await;
    within(source.close()).await.unwrap();
    within(source.close()).await.unwrap();
    assert!(within(source.receive()).await.is_err());
    let late = source.acknowledge(&partition, deliveries[0].offset).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Revoked);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_is_reported_and_taken_up_once_it_is_there() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = unique_topic();
    let config = cluster.config().set("topic.metadata.refresh.interval.ms", "1000").unwrap();
    let source = KafkaSource::new(config, unique_group(), vec![topic.clone()]).unwrap();
    let error = within(source.receive()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
    assert!(error.to_string().contains(topic.as_str()), "{error}");
    cluster.make(&topic, 1, &[]).await;
    publish_numbers(&cluster.bus(), &topic, "k", 0, 1).await;
    let received = within(async {
        loop {
            if let Ok(received) = source.receive().await {
                return received;
            }
        }
    });
    assert!(matches!(received.await, relaybox_core::Received::Batch { .. }));
    source.close().await.unwrap();
}

#[tokio::test]
async fn a_source_of_no_topic_is_refused() {
    let config = relaybox_kafka::KafkaConfig::new("127.0.0.1:1");
    let error = KafkaSource::new(config, unique_group(), Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_topic_without_room_for_a_dead_letter_topic_is_refused() {
    let long = relaybox_core::TopicName::new("t".repeat(249)).unwrap();
    let error = KafkaSource::new(KafkaConfig::new("localhost:1"), unique_group(), vec![long]);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
}

on_both!(the_rest_of_a_batch_stays_out_until_it_is_acknowledged_too, async |cluster: Cluster| {
    let topic = cluster.topic(1).await;
    publish_together(&cluster, &topic, 20).await;
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .max_batch(10)
        .build()
        .unwrap();
    let (partition, deliveries) = batch(&source).await;
    let last = deliveries.last().unwrap().offset;
    source.acknowledge(&partition, deliveries[0].offset).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(500), source.receive()).await;
    assert!(early.is_err(), "the batch is out yet");
    source.acknowledge(&partition, last).await.unwrap();
    let (_, next) = batch(&source).await;
    assert_eq!(next[0].offset, last + 1);
    source.close().await.unwrap();
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_got_over_and_a_close_in_one_does_not_hang() {
    let cluster = Cluster::embedded();
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    publish_numbers(&bus, &topic, "k", 0, 1).await;
    let source = source(&cluster, &topic);
    let (partition, deliveries) = batch(&source).await;
    source.acknowledge(&partition, deliveries[0].offset).await.unwrap();
    let Cluster::Embedded(embedded) = &cluster else { unreachable!() };

    embedded.down().unwrap();
    let during = tokio::time::timeout(Duration::from_secs(3), source.receive()).await;
    assert!(during.is_err(), "nothing comes, and nothing fails");
    embedded.up().unwrap();
    publish_numbers(&bus, &topic, "k", 1, 2).await;
    let (partition, deliveries) = batch(&source).await;
    embedded.down().unwrap();
    drop(source.acknowledge(&partition, deliveries[0].offset).await);
    let began = std::time::Instant::now();
    drop(source.close().await);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
