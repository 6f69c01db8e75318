//! Topics.

use std::time::Duration;

use relaybox_core::{AggregateType, ErrorKind, EventId, TopicMap};
use relaybox_kafka::{Ensured, KafkaAdmin, KafkaConfig, TopicSpec, topic_specs};

use crate::support::{Cluster, publish_numbers, unique_topic, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeding_topics_twice_changes_nothing() {
    let Some(cluster) = Cluster::broker() else { return };
    let aggregate = AggregateType::new(format!("a-{}", EventId::new())).unwrap();
    let topics = TopicMap::new();
    let specs: Vec<_> = topic_specs(&topics, std::slice::from_ref(&aggregate), 3, 1)
        .unwrap()
        .into_iter()
        .map(|spec| spec.retention(Duration::from_secs(3600)))
        .collect();
    let admin = KafkaAdmin::new(cluster.config()).unwrap();
    let first = within(admin.ensure_topics(&specs)).await.unwrap();
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|(_, ensured)| *ensured == Ensured::Created));
    let names: Vec<_> = first.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names[1].as_str(), format!("{}.dlq", names[0]));
    let again = within(admin.ensure_topics(&specs)).await.unwrap();
    assert!(again.iter().all(|(_, ensured)| *ensured == Ensured::Existed));

    // Ready at once, and left as it is.
    publish_numbers(&cluster.bus(), &topics.topic(&aggregate), "k", 0, 1).await;
    let more = TopicSpec::new(names[0].clone(), 6, 1);
    let differs = within(admin.ensure_topics(&[more])).await.unwrap();
    assert_eq!(differs[0].1, Ensured::PartitionsDiffer { found: 3 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_the_cluster_refuses_is_named() {
    let Some(cluster) = Cluster::broker() else { return };
    let admin = KafkaAdmin::new(cluster.config()).unwrap();
    let topic = unique_topic();
    let too_many = TopicSpec::new(topic.clone(), 1, 3);
    let error = within(admin.ensure_topics(&[too_many])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(topic.as_str()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_there_are_found_on_the_mock_too() {
    let cluster = Cluster::embedded();
    let topic = cluster.topic(3).await;
    let admin = KafkaAdmin::new(cluster.config()).unwrap();
    let ensured = within(admin.ensure_topics(&[TopicSpec::new(topic, 3, 1)])).await.unwrap();
    assert_eq!(ensured[0].1, Ensured::Existed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_nobody_runs_is_unavailable() {
    let admin = KafkaAdmin::new(KafkaConfig::new("127.0.0.1:1")).unwrap();
    let admin = admin.timeout(Duration::from_secs(1));
    let error = within(admin.ensure_topics(&[TopicSpec::new(unique_topic(), 1, 1)])).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
}
