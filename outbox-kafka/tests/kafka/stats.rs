//! What a source says of its topics.

use std::time::{Duration, Instant};

use chrono::Utc;
use relaybox_core::{
    ConsumerName, ErrorKind, EventBus, EventSource, Failure, SourceStats, TopicName,
};
use relaybox_kafka::{KafkaConfig, KafkaSource, StartAt, dead_letter_topic};

use crate::support::{
    Cluster, batch, on_both, publish_numbers, record, unique_group, unique_topic, within,
};

/// Asks until the source holds so many partitions.
async fn holding(source: &KafkaSource, partitions: usize) -> SourceStats {
    within(async {
        loop {
            let stats = source.stats().await.unwrap();
            if stats.partitions.len() == partitions {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

fn total(stats: &SourceStats) -> Option<u64> {
    stats.partitions.iter().map(|partition| partition.lag).sum()
}

fn failure() -> Failure {
    let consumer = ConsumerName::new("notifications").unwrap();
    Failure::new(consumer, ErrorKind::Decode, "broken".to_owned(), 5, Utc::now())
}

on_both!(the_lag_is_what_was_not_acknowledged, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(3).await, cluster.patient_bus());
    let all = (0..10).flat_map(|n| (0..20).map(move |key| (key, n)));
    let records = all.map(|(key, n)| record(&topic, &format!("k{key}"), n.to_string())).collect();
    assert!(bus.publish(records).await.iter().all(Result::is_ok));
    let join = |group| {
        KafkaSource::builder(cluster.config(), group, vec![topic.clone()]).max_batch(10).build()
    };
    let group = unique_group();
    let source = join(group.clone()).unwrap();
    let stats = holding(&source, 3).await;
    assert_eq!(total(&stats), Some(200), "nothing was taken");
    let (partition, deliveries) = batch(&source).await;
    assert_eq!(total(&source.stats().await.unwrap()), Some(200), "what is out waits, too");
    source.acknowledge(&partition, deliveries[3].offset).await.unwrap();
    let stats = source.stats().await.unwrap();
    assert_eq!(total(&stats), Some(196));
    let (last, left) = (deliveries.last().unwrap().offset, deliveries.len());
    source.acknowledge(&partition, last).await.unwrap();
    source.close().await.unwrap();

    let source = join(group).unwrap();
    let stats = holding(&source, 3).await;
    assert_eq!(total(&stats), Some(200 - u64::try_from(left).unwrap()), "as the group left it");
    source.close().await.unwrap();
    assert_eq!(source.stats().await.unwrap_err().kind(), ErrorKind::Invalid);
});

on_both!(a_partition_begun_at_its_end_has_no_lag_to_tell_yet, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    publish_numbers(&bus, &topic, "k", 0, 10).await;
    let source = KafkaSource::builder(cluster.config(), unique_group(), vec![topic.clone()])
        .start_at(StartAt::Latest)
        .build()
        .unwrap();
    let stats = holding(&source, 1).await;
    assert_eq!(stats.partitions[0].lag, None);
    source.close().await.unwrap();
});

on_both!(dead_letters_are_counted_over_all_partitions, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    let dead_letters = dead_letter_topic(&topic).unwrap();
    cluster.make(&dead_letters, 3, &[]).await;
    publish_numbers(&bus, &topic, "k", 0, 1).await;
    let source = KafkaSource::new(cluster.config(), unique_group(), vec![topic.clone()]).unwrap();
    let (_, deliveries) = batch(&source).await;
    let stats = source.stats().await.unwrap();
    assert_eq!(stats.topics[0].topic, topic);
    assert_eq!(stats.topics[0].dead_letters, Some(0));
    for key in 0..5_u8 {
        let mut delivery = deliveries[0].clone();
        delivery.key = Some(vec![key].into());
        source.dead_letter(&delivery, &failure()).await.unwrap();
    }
    assert_eq!(source.stats().await.unwrap().topics[0].dead_letters, Some(5));
    source.close().await.unwrap();
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_and_a_missing_dead_letter_topic_are_said_as_they_are() {
    let Some(cluster) = Cluster::broker() else { return };
    let make = async |settings: &[(&str, &str)]| -> TopicName {
        let topic = unique_topic();
        cluster.make(&topic, 1, settings).await;
        topic
    };
    let hour = make(&[("retention.ms", "3600000")]).await;
    let for_ever = make(&[("retention.ms", "-1")]).await;
    let compacted = make(&[("cleanup.policy", "compact")]).await;
    let both = make(&[("cleanup.policy", "compact,delete"), ("retention.ms", "60000")]).await;
    let topics = vec![hour, for_ever, compacted, both];
    let expected = [Some(3_600), None, None, Some(60)];
    let expected = expected.map(|seconds| seconds.map(Duration::from_secs));
    let mut looks = 0;
    // A broker that doesn't answer in time is asked again in a minute, and by another one now.
    let (source, stats) = loop {
        let source = KafkaSource::new(cluster.config(), unique_group(), topics.clone()).unwrap();
        let stats = within(source.stats()).await.unwrap();
        let known: Vec<_> = stats.topics.iter().map(|topic| topic.retention).collect();
        looks += 1;
        if known == expected {
            break (source, stats);
        }
        assert!(looks < 5 && known.iter().all(Option::is_none), "{known:?}");
        source.close().await.unwrap();
    };
    assert!(stats.topics.iter().all(|topic| topic.dead_letters.is_none()));
    // Asking must not have made it.
    let admin = relaybox_kafka::KafkaAdmin::new(cluster.config()).unwrap();
    let spec = relaybox_kafka::TopicSpec::new(dead_letter_topic(&topics[0]).unwrap(), 1, 1);
    let ensured = within(admin.ensure_topics(&[spec])).await.unwrap();
    assert_eq!(ensured[0].1, relaybox_kafka::Ensured::Created);
    source.close().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn asking_a_cluster_that_nobody_runs_ends_and_blocks_nobody() {
    let config = KafkaConfig::new("127.0.0.1:1");
    let source = KafkaSource::new(config, unique_group(), vec![unique_topic()]).unwrap();
    let began = Instant::now();
    let (asked, ticked) = tokio::join!(source.stats(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        began.elapsed()
    });
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(ticked < Duration::from_secs(4), "the thread was blocked for {ticked:?}");
}
