//! Topics.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, ResourceSpecifier,
};
use relaybox_core::{AggregateType, ErrorKind, EventId, TopicMap, TopicName};
use relaybox_kafka::{
    Ensured, KafkaAdmin, KafkaConfig, TopicPlan, TopicSpec, TopicStep, topic_specs,
};

use crate::support::{Cluster, PATIENCE, client, publish_numbers, unique_topic, within};

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

/// The settings that a topic has of its own.
async fn own_settings(cluster: &Cluster, topic: &TopicName) -> BTreeMap<String, String> {
    let admin: AdminClient<_> = client(&cluster.brokers()).create().unwrap();
    let topic = ResourceSpecifier::Topic(topic.as_str());
    let mut described = admin.describe_configs([&topic], &AdminOptions::new()).await.unwrap();
    let entries = described.remove(0).unwrap().entries.into_iter();
    let own = entries.filter(|entry| entry.source == ConfigSource::DynamicTopic);
    own.map(|entry| (entry.name, entry.value.unwrap())).collect()
}

/// Sets all that a topic has of its own, as somebody else would.
async fn set_all(cluster: &Cluster, topic: &TopicName, settings: &[(&str, &str)]) {
    let admin: AdminClient<_> = client(&cluster.brokers()).create().unwrap();
    let altered = AlterConfig::new(ResourceSpecifier::Topic(topic.as_str()));
    let altered = settings.iter().fold(altered, |altered, (name, value)| altered.set(name, value));
    admin.alter_configs([&altered], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    // A broker answers from what it has heard of the controller.
    let owned = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let promised: BTreeMap<_, _> = owned.collect();
    while own_settings(cluster, topic).await != promised {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn steps(plan: &TopicPlan) -> Vec<&TopicStep> {
    plan.topics.iter().flat_map(|topic| &topic.steps).collect()
}

fn set(setting: &str, from: &str, to: &str) -> TopicStep {
    let (setting, to) = (setting.to_owned(), to.to_owned());
    TopicStep::Set { setting, from: Some(from.to_owned()), to }
}

fn admin(cluster: &Cluster) -> KafkaAdmin {
    KafkaAdmin::new(cluster.config()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_plan_is_applied_the_next_one_is_empty() {
    let Some(cluster) = Cluster::broker() else { return };
    let aggregate = AggregateType::new(format!("a-{}", EventId::new())).unwrap();
    let specs = topic_specs(&TopicMap::new(), &[aggregate], 3, 1).unwrap();
    let specs: Vec<_> =
        specs.into_iter().map(|spec| spec.retention(Duration::from_secs(3600))).collect();
    let admin = admin(&cluster);
    let plan = within(admin.plan(&specs)).await.unwrap();
    assert!(plan.has_changes() && !plan.has_refusals(), "{plan}");
    let shown = plan.to_string();
    let line = format!("+ {}: 3 partitions, replication 1, retention.ms=3600000", specs[0].name);
    assert!(shown.starts_with(&line), "{shown}");
    assert!(shown.ends_with("2 to create, 0 to change, 0 refused, 0 unchanged"), "{shown}");
    assert!(steps(&within(admin.plan(&specs)).await.unwrap()).len() == 2, "a plan makes nothing");

    assert_eq!(within(admin.apply(&plan)).await.unwrap(), plan);
    // Usable at once.
    publish_numbers(&cluster.bus(), &specs[0].name, "k", 0, 1).await;
    let next = within(admin.plan(&specs)).await.unwrap();
    assert!(next.is_empty() && next.topics.len() == 2, "{next}");
    for again in [&plan, &next] {
        assert!(within(admin.apply(again)).await.unwrap().topics.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changing_a_setting_leaves_those_alone_that_the_spec_does_not_name() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = cluster.topic(1).await;
    set_all(&cluster, &topic, &[("retention.bytes", "123456"), ("retention.ms", "1000")]).await;
    let spec = TopicSpec::new(topic.clone(), 1, 1)
        .set("retention.ms", "2000")
        .set("cleanup.policy", "compact, delete")
        .set("min.cleanable.dirty.ratio", "0.50");
    let admin = admin(&cluster);
    let plan = within(admin.plan(std::slice::from_ref(&spec))).await.unwrap();
    let expected =
        [set("cleanup.policy", "delete", "compact, delete"), set("retention.ms", "1000", "2000")];
    assert_eq!(steps(&plan), expected.iter().collect::<Vec<_>>(), "0.50 is the cluster's 0.5");
    assert!(plan.to_string().contains(&format!("~ {topic}: retention.ms 1000 -> 2000")), "{plan}");

    assert_eq!(within(admin.apply(&plan)).await.unwrap(), plan);
    let own = own_settings(&cluster, &topic).await;
    assert_eq!(own.get("retention.bytes").map(String::as_str), Some("123456"), "{own:?}");
    assert_eq!(own.get("retention.ms").map(String::as_str), Some("2000"), "{own:?}");
    let next = within(admin.plan(&[spec])).await.unwrap();
    assert!(next.is_empty(), "{next}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_added_only_when_that_is_allowed() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = cluster.topic(3).await;
    let admin = admin(&cluster);
    let spec = |partitions, replication| TopicSpec::new(topic.clone(), partitions, replication);
    for refused in [spec(6, 1), spec(2, 1), spec(2, 1).allow_more_partitions(), spec(3, 2)] {
        let plan = within(admin.plan(&[refused])).await.unwrap();
        assert!(plan.has_refusals() && !plan.has_changes(), "{plan}");
        assert!(plan.to_string().starts_with("! "), "{plan}");
        assert!(within(admin.apply(&plan)).await.unwrap().topics.is_empty());
    }
    let spec = spec(6, 1).allow_more_partitions();
    let plan = within(admin.plan(std::slice::from_ref(&spec))).await.unwrap();
    assert_eq!(steps(&plan), [&TopicStep::AddPartitions { from: 3, to: 6 }]);
    assert_eq!(within(admin.apply(&plan)).await.unwrap(), plan);
    assert!(within(admin.plan(&[spec])).await.unwrap().is_empty());
    assert!(within(admin.apply(&plan)).await.unwrap().topics.is_empty(), "done already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cluster_would_refuse_is_refused_in_the_plan_and_the_rest_is_done() {
    let Some(cluster) = Cluster::broker() else { return };
    let (there, fresh) = (cluster.topic(1).await, unique_topic());
    let too_many_copies = TopicSpec::new(unique_topic(), 1, 3);
    let specs = [
        TopicSpec::new(there.clone(), 1, 1)
            .set("retention.ms", "a week")
            .set("retention.years", "1")
            .set("segment.bytes", "2000000"),
        too_many_copies.clone(),
        TopicSpec::new(unique_topic(), 1, 1).set("no.such.setting", "1"),
        TopicSpec::new(fresh.clone(), 1, 1),
    ];
    let admin = admin(&cluster);
    let plan = within(admin.plan(&specs)).await.unwrap();
    let refused: Vec<_> = steps(&plan)
        .into_iter()
        .filter(|step| step.is_refused())
        .map(ToString::to_string)
        .collect();
    assert_eq!(refused.len(), 4, "{plan}");
    assert!(refused.iter().any(|reason| reason.contains("retention.years")), "{plan}");
    assert!(refused.iter().any(|reason| reason.contains("-> a week")), "{plan}");
    assert!(
        plan.to_string().ends_with("1 to create, 1 to change, 3 refused, 0 unchanged"),
        "{plan}"
    );

    let done = within(admin.apply(&plan)).await.unwrap();
    let names: Vec<_> = done.topics.iter().map(|topic| topic.name.clone()).collect();
    assert_eq!(names, [there.clone(), fresh]);
    assert_eq!(own_settings(&cluster, &there).await["segment.bytes"], "2000000");
    let left = within(admin.plan(&specs)).await.unwrap();
    assert!(left.has_refusals() && !left.has_changes(), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_the_cluster_silently_refuses_is_an_error() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = cluster.topic(1).await;
    let admin = admin(&cluster).timeout(Duration::from_secs(5));
    let spec = TopicSpec::new(topic.clone(), 1, 1).set("retention.ms", "2000");
    let mut plan = within(admin.plan(&[spec])).await.unwrap();
    let TopicStep::Set { to, .. } = &mut plan.topics[0].steps[0] else { panic!("{plan}") };
    "a week".clone_into(to);
    let error = within(admin.apply(&plan)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
    assert!(error.to_string().contains(topic.as_str()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_the_cluster_has_left_behind_changes_nothing() {
    let Some(cluster) = Cluster::broker() else { return };
    let (one, two, fresh) = (cluster.topic(1).await, cluster.topic(1).await, unique_topic());
    let specs = [
        TopicSpec::new(fresh.clone(), 1, 1),
        TopicSpec::new(one.clone(), 1, 1).set("retention.ms", "2000"),
        TopicSpec::new(two.clone(), 4, 1).allow_more_partitions(),
    ];
    let admin = admin(&cluster);
    let plan = within(admin.plan(&specs)).await.unwrap();
    assert_eq!(steps(&plan).len(), 3);

    set_all(&cluster, &one, &[("retention.ms", "3000")]).await;
    let error = within(admin.apply(&plan)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(one.as_str()), "{error}");
    set_all(&cluster, &one, &[]).await;
    let other: AdminClient<_> = client(&cluster.brokers()).create().unwrap();
    let more = NewPartitions::new(two.as_str(), 3);
    other.create_partitions([&more], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let partitions = || {
        let metadata = other.inner().fetch_metadata(Some(two.as_str()), PATIENCE).unwrap();
        metadata.topics()[0].partitions().len()
    };
    while partitions() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = within(admin.apply(&plan)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(two.as_str()), "{error}");
    let next = within(admin.plan(&specs)).await.unwrap();
    assert_eq!(steps(&next).len(), 3, "nothing was changed: {next}");

    // Somebody else did what this one says: nothing is left to do.
    within(admin.apply(&next)).await.unwrap();
    assert!(within(admin.apply(&next)).await.unwrap().topics.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specs_that_contradict_themselves_are_refused() {
    let cluster = Cluster::embedded();
    let (admin, topic) = (admin(&cluster), cluster.topic(3).await);
    let spec = |partitions| TopicSpec::new(topic.clone(), partitions, 1);
    for specs in [&[spec(3), spec(3)][..], &[spec(0)]] {
        let error = within(admin.plan(specs)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let plan = within(admin.plan(&[spec(3)])).await.unwrap();
    assert!(plan.is_empty(), "without settings it asks for none: {plan}");
}
