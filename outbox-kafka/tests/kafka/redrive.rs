//! Dead letters that go back.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use relaybox_core::{
    ConsumerName, Delivery, ErrorKind, EventId, EventSource, Failure, Partition, RedriveQuery,
    TopicName,
};
use relaybox_kafka::{KafkaRedrive, KafkaSource, LetterState, dead_letter_topic};

use crate::support::{Cluster, PATIENCE, client, on_both, unique_group, unique_topic, within};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A topic with dead letters.
struct Letters {
    topic: TopicName,
    source: KafkaSource,
    redrive: KafkaRedrive,
    written: i64,
}

impl Letters {
    async fn new(cluster: &Cluster, partitions: i32) -> Self {
        let topic = cluster.topic(3).await;
        cluster.make(&dead_letter_topic(&topic).unwrap(), partitions, &[]).await;
        let source = KafkaSource::new(cluster.config(), unique_group(), vec![topic.clone()]);
        let redrive = KafkaRedrive::new(cluster.config(), topic.clone());
        Self { topic, source: source.unwrap(), redrive, written: 0 }
    }

    /// Gives up on an event of a key.
    async fn add(&mut self, key: &str, event_type: &str, failure: &Failure) -> EventId {
        let id = EventId::new();
        let mut delivery = Delivery::new(Partition::new(self.topic.clone(), 0, 1), self.written);
        self.written += 1;
        delivery.key = Some(Bytes::copy_from_slice(key.as_bytes()));
        delivery.value = Some(Bytes::from(id.to_string()));
        delivery.headers = vec![
            ("ce_id".into(), Bytes::from(id.to_string())),
            ("ce_type".into(), Bytes::copy_from_slice(event_type.as_bytes())),
        ];
        self.source.dead_letter(&delivery, failure).await.unwrap();
        id
    }

    async fn run(&self, query: RedriveQuery) -> u64 {
        let plan = self.redrive.plan(&query).await.unwrap();
        let planned = plan.summary().chosen;
        let sent = plan.run().await.unwrap().chosen;
        assert_eq!(planned, sent);
        sent
    }

    /// The values on the topic: the ids of the events that were sent back.
    async fn back(&self, cluster: &Cluster) -> Vec<EventId> {
        let records = cluster.read(&self.topic).await;
        let id = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap();
        records.into_iter().map(|record| id(record.value).parse().unwrap()).collect()
    }
}

fn failure_at(kind: ErrorKind, reason: &str, failed_at: DateTime<Utc>) -> Failure {
    let consumer = ConsumerName::new("notifications").unwrap();
    Failure::new(consumer, kind, reason.to_owned(), 5, failed_at)
}

fn failure() -> Failure {
    failure_at(ErrorKind::Decode, "broken", Utc::now())
}

on_both!(a_dead_letter_goes_back_once_as_it_was, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 2).await;
    let (topic, other) = (letters.topic.clone(), unique_topic());
    let dead_letters = dead_letter_topic(&topic).unwrap();
    let mut delivery = Delivery::new(Partition::new(topic.clone(), 0, 1), 41);
    delivery.key = Some(Bytes::from_static(&[0xff, 1]));
    delivery.value = Some(Bytes::from_static(&[0, 0xfe]));
    delivery.headers = vec![
        ("b".into(), Bytes::from_static(&[0xff, 0])),
        // Of an earlier redrive: the consumer that gives up now counts.
        ("redrive-consumer".into(), Bytes::from_static(b"another")),
        ("b".into(), Bytes::from_static(b"again")),
    ];
    letters.source.dead_letter(&delivery, &failure()).await.unwrap();
    let mut tombstone = delivery.clone();
    (tombstone.offset, tombstone.value) = (42, None);
    letters.source.dead_letter(&tombstone, &failure()).await.unwrap();
    // Three that are none of the topic's: one says nothing, one names another topic, one looks a bit
    // like a note of what was put back.
    let producer: BaseProducer = client(&cluster.brokers()).create().unwrap();
    let said = Header { key: "dlq-original-topic", value: Some(other.as_str()) };
    let noted = Header { key: "dlq-redriven-offsets", value: Some("0-1000") };
    for headers in
        [OwnedHeaders::new(), OwnedHeaders::new().insert(said), OwnedHeaders::new().insert(noted)]
    {
        let foreign = BaseRecord::<[u8], [u8]>::to(dead_letters.as_str()).payload(b"x");
        producer.send(foreign.headers(headers)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();

    let plan = letters.redrive.plan(&RedriveQuery::all()).await.unwrap();
    assert_eq!((plan.summary().chosen, plan.summary().foreign), (2, 3));
    let shown = plan.to_string();
    assert!(shown.contains("2 to put back") && shown.contains(topic.as_str()), "{shown}");
    assert!(cluster.read(&topic).await.is_empty(), "a plan sends nothing");
    assert_eq!(cluster.read(&dead_letters).await.len(), 5, "and writes nothing");
    assert_eq!(plan.run().await.unwrap().chosen, 2);

    let records = cluster.read(&topic).await;
    let expected = [
        ("b".into(), Some(vec![0xff, 0])),
        ("b".into(), Some(b"again".to_vec())),
        ("redrive-consumer".into(), Some(b"notifications".to_vec())),
    ];
    let values: Vec<_> = records.iter().map(|record| record.value.as_deref()).collect();
    assert_eq!(values, [Some(&[0, 0xfe][..]), None]);
    for record in &records {
        assert_eq!(record.key.as_deref(), Some(&[0xff, 1][..]));
        assert_eq!(record.headers, expected);
    }

    let plan = letters.redrive.plan(&RedriveQuery::all()).await.unwrap();
    let summary = plan.summary();
    assert_eq!((summary.chosen, summary.redriven_before, summary.foreign), (0, 2, 3));
    assert_eq!(plan.run().await.unwrap().chosen, 0);
    letters.add("k", "thing.happened.v1", &failure()).await;
    assert_eq!(letters.run(RedriveQuery::all()).await, 1, "what came since");
    assert_eq!(letters.run(RedriveQuery::all().force()).await, 3, "all of them again");
    assert_eq!(letters.run(RedriveQuery::all()).await, 0);
    letters.source.close().await.unwrap();
});

on_both!(a_query_chooses_by_each_of_its_filters, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 3).await;
    let now = Utc::now();
    let old = failure_at(ErrorKind::Timeout, "the database said no", now - 2 * DAY);
    let new = failure_at(ErrorKind::Decode, "not JSON", now);
    let mut other = new.clone();
    other.consumer = ConsumerName::new("billing").unwrap();
    let a = letters.add("a", "thing.happened.v1", &old).await;
    let b = letters.add("b", "thing.happened.v2", &new).await;
    let c = letters.add("c", "thing.ended.v1", &new).await;
    let d = letters.add("a", "thing.ended.v1", &other).await;
    let all = RedriveQuery::all;
    let expected = [
        (all(), vec![a, b, c, d]),
        (all().since(now - DAY), vec![b, c, d]),
        (all().until(now - DAY), vec![a]),
        (all().event_type("thing.happened"), vec![a, b]),
        (all().event_type("thing.happened.v2"), vec![b]),
        (all().error_kind("timeout"), vec![a]),
        (all().error_contains("JSON"), vec![b, c, d]),
        (all().key("a"), vec![a, d]),
        (all().event(b).event(d), vec![b, d]),
        (all().consumer(other.consumer.clone()), vec![d]),
        (all().key("a").since(now - DAY), vec![d]),
        (all().key("nobody"), vec![]),
    ];
    for (query, expected) in &expected {
        let plan = letters.redrive.plan(query).await.unwrap();
        assert_eq!(plan.summary().chosen, expected.len() as u64, "{query:?}");
        let listed = letters.redrive.list(query, None).await.unwrap();
        let ids: BTreeSet<_> = listed.iter().filter_map(|found| found.letter.event_id).collect();
        assert_eq!(ids, expected.iter().copied().collect(), "{query:?}");
    }
    // Each of them sends just these, and each letter once.
    let mut sent = BTreeSet::new();
    for (query, expected) in expected.into_iter().rev() {
        let fresh = expected.iter().filter(|id| sent.insert(**id)).count() as u64;
        assert_eq!(letters.run(query.clone()).await, fresh, "{query:?}");
        let back = letters.back(&cluster).await;
        assert_eq!(back.len(), sent.len());
        assert_eq!(back.into_iter().collect::<BTreeSet<_>>(), sent, "{query:?}");
    }
    letters.source.close().await.unwrap();
});

on_both!(a_limit_takes_the_first_and_the_rest_stays_for_the_next_run, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 1).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(letters.add("k", "thing.happened.v1", &failure()).await);
    }
    let query = RedriveQuery::all().limit(2);
    let plan = letters.redrive.plan(&query).await.unwrap();
    assert_eq!((plan.summary().chosen, plan.summary().beyond_limit), (2, 3));
    assert_eq!(plan.run().await.unwrap().chosen, 2);
    assert_eq!(letters.back(&cluster).await, ids[..2]);
    assert_eq!(letters.run(query.clone()).await, 2);
    assert_eq!(letters.run(query.clone()).await, 1);
    assert_eq!(letters.run(query).await, 0);
    assert_eq!(letters.back(&cluster).await, ids, "in their order");
    letters.source.close().await.unwrap();
});

on_both!(what_is_older_than_the_marks_is_refused_without_force, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 1).await;
    let old = failure_at(ErrorKind::Timeout, "long ago", Utc::now() - 20 * DAY);
    let kept = letters.add("k", "thing.happened.v1", &failure()).await;
    let lost = letters.add("k", "thing.happened.v1", &old).await;
    let query = RedriveQuery::all().marks_kept(14 * DAY);
    let plan = letters.redrive.plan(&query).await.unwrap();
    assert_eq!((plan.summary().chosen, plan.summary().older_than_marks), (1, 1));
    assert_eq!(plan.run().await.unwrap().chosen, 1);
    assert_eq!(letters.run(query.clone()).await, 0);
    assert_eq!(letters.back(&cluster).await, [kept]);
    assert_eq!(letters.run(query.event(lost).force()).await, 1);
    assert_eq!(letters.back(&cluster).await, [kept, lost]);
    letters.source.close().await.unwrap();
});

on_both!(a_plan_passes_over_what_was_put_back_since_it_was_made, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 2).await;
    for key in ["a", "b", "c", "d"] {
        letters.add(key, "thing.happened.v1", &failure()).await;
    }
    let plan = letters.redrive.plan(&RedriveQuery::all()).await.unwrap();
    assert_eq!(letters.run(RedriveQuery::all().key("b")).await, 1);
    let late = letters.add("e", "thing.happened.v1", &failure()).await;
    let sent = plan.run().await.unwrap();
    assert_eq!((sent.chosen, sent.redriven_before), (3, 1));
    let back = letters.back(&cluster).await;
    assert!(back.len() == 4 && !back.contains(&late), "{back:?}");
    letters.source.close().await.unwrap();
});

on_both!(a_letter_that_fails_again_is_a_new_letter, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 1).await;
    let id = letters.add("k", "thing.happened.v1", &failure()).await;
    let query = RedriveQuery::all().event(id);
    assert_eq!(letters.run(query.clone()).await, 1);
    let (_, deliveries) = crate::support::batch(&letters.source).await;
    assert_eq!(deliveries.len(), 1);
    letters.source.dead_letter(&deliveries[0], &failure()).await.unwrap();
    assert_eq!(letters.run(query.clone()).await, 1);
    assert_eq!(letters.back(&cluster).await, [id, id]);
    let listed = letters.redrive.list(&query, None).await.unwrap();
    assert!(
        listed.len() == 2 && listed.iter().all(|found| found.state == LetterState::Redriven),
        "{listed:?}"
    );
    letters.source.close().await.unwrap();
});

on_both!(letters_are_listed_page_by_page, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 3).await;
    let mut ids = BTreeSet::new();
    for n in 0..25 {
        ids.insert(letters.add(&format!("k{n}"), "thing.happened.v1", &failure()).await);
    }
    letters.run(RedriveQuery::all().key("k7")).await;
    let (query, mut after, mut listed) = (RedriveQuery::all().limit(10), None, Vec::new());
    loop {
        let page = letters.redrive.list(&query, after).await.unwrap();
        let Some(last) = page.last() else { break };
        let delivery = &last.letter.delivery;
        after = Some((delivery.partition.number, delivery.offset));
        assert!(page.len() <= 10);
        listed.extend(page);
    }
    let found: BTreeSet<_> = listed.iter().filter_map(|found| found.letter.event_id).collect();
    assert_eq!((listed.len(), found), (25, ids));
    let redriven: Vec<_> =
        listed.iter().filter(|found| found.state == LetterState::Redriven).collect();
    assert_eq!(redriven.len(), 1);
    assert_eq!(redriven[0].letter.delivery.key.as_deref(), Some(&b"k7"[..]));
    letters.source.close().await.unwrap();
});

on_both!(a_redrive_of_more_than_a_chunk_keeps_the_order_of_each_key, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 2).await;
    let mut ids = Vec::new();
    for n in 0..1_200 {
        ids.push(letters.add(&format!("k{}", n % 7), "thing.happened.v1", &failure()).await);
    }
    assert_eq!(letters.run(RedriveQuery::all()).await, 1_200);
    let records = cluster.read(&letters.topic).await;
    for key in 0..7 {
        let of_key = |record: &&crate::support::Raw| {
            record.key.as_deref() == Some(format!("k{key}").as_bytes())
        };
        let back: Vec<_> = records.iter().filter(of_key).collect();
        let partitions: BTreeSet<_> = back.iter().map(|record| record.partition).collect();
        assert_eq!(partitions.len(), 1, "where its key belongs");
        let sent = back.iter().map(|record| record.value.clone().unwrap());
        let expected = ids.iter().skip(key).step_by(7).map(|id| id.to_string().into_bytes());
        assert!(sent.eq(expected), "k{key}");
    }
    assert_eq!(letters.run(RedriveQuery::all()).await, 0);
    letters.source.close().await.unwrap();
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_but_not_noted_is_sent_again() {
    let Some(cluster) = Cluster::broker() else { return };
    let mut letters = Letters::new(&cluster, 1).await;
    let id = letters.add("k", "thing.happened.v1", &failure()).await;
    // From now on the dead-letter topic takes nothing: as if the run had died behind the letters.
    let dead_letters = dead_letter_topic(&letters.topic).unwrap();
    limit(&cluster, &dead_letters, "10").await;
    let plan = letters.redrive.plan(&RedriveQuery::all()).await.unwrap();
    let error = within(plan.run()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(letters.back(&cluster).await, [id]);
    limit(&cluster, &dead_letters, "1000000").await;
    assert_eq!(within(letters.run(RedriveQuery::all())).await, 1);
    assert_eq!(letters.back(&cluster).await, [id, id]);
    assert_eq!(within(letters.run(RedriveQuery::all())).await, 0);
    letters.source.close().await.unwrap();
}

on_both!(a_discarded_letter_is_not_put_back_unless_forced, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 2).await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c", "d"] {
        ids.push(letters.add(key, "thing.happened.v1", &failure()).await);
    }
    let old = failure_at(ErrorKind::Timeout, "long ago", Utc::now() - 20 * DAY);
    ids.push(letters.add("e", "thing.happened.v1", &old).await);
    letters.run(RedriveQuery::all().event(ids[0])).await;
    let written = cluster.read(&dead_letter_topic(&letters.topic).unwrap()).await.len();

    // The second and the old one; the first was put back, and stays so.
    let query = RedriveQuery::all().event(ids[0]).event(ids[1]).event(ids[4]).marks_kept(DAY);
    let plan = letters.redrive.plan_discard(&query).await.unwrap();
    let summary = plan.summary().clone();
    assert_eq!((summary.chosen, summary.redriven_before, summary.older_than_marks), (2, 1, 0));
    let shown = plan.to_string();
    assert!(shown.contains("2 to discard") && shown.contains("1 put back before"), "{shown}");
    let now = cluster.read(&dead_letter_topic(&letters.topic).unwrap()).await.len();
    assert_eq!(now, written, "a plan writes nothing");
    assert_eq!(plan.run().await.unwrap().chosen, 2);

    use LetterState::{Discarded, Open, Redriven};
    let state = async |id| {
        let listed = letters.redrive.list(&RedriveQuery::all().event(id), None).await.unwrap();
        assert_eq!(listed.len(), 1);
        let delivery = &listed[0].letter.delivery;
        let place = (delivery.partition.number, delivery.offset);
        let shown = letters.redrive.letter(place.0, place.1).await.unwrap().unwrap();
        assert_eq!((shown.state, shown.letter.event_id), (listed[0].state, Some(id)));
        assert_eq!(shown.letter.delivery.value.as_deref(), Some(id.to_string().as_bytes()));
        shown.state
    };
    let mut states = Vec::new();
    for id in &ids {
        states.push(state(*id).await);
    }
    assert_eq!(states, [Redriven, Discarded, Open, Open, Discarded]);
    let listed = async |state| -> BTreeSet<EventId> {
        let found = letters.redrive.list_in(state, &RedriveQuery::all(), None).await.unwrap();
        found.into_iter().filter_map(|found| found.letter.event_id).collect()
    };
    assert_eq!(listed(Open).await, [ids[2], ids[3]].into());
    assert_eq!(listed(Discarded).await, [ids[1], ids[4]].into());
    let counts = letters.redrive.counts().await.unwrap();
    assert_eq!((counts.open, counts.redriven, counts.discarded, counts.foreign), (2, 1, 2, 0));
    assert!(counts.oldest_open.unwrap() > Utc::now() - DAY);

    let plan = letters.redrive.plan(&RedriveQuery::all()).await.unwrap();
    let summary = plan.summary();
    assert_eq!((summary.chosen, summary.redriven_before, summary.discarded_before), (2, 1, 2));
    assert_eq!(plan.run().await.unwrap().chosen, 2);
    assert_eq!(letters.back(&cluster).await.len(), 3);
    let plan = letters.redrive.plan_discard(&RedriveQuery::all()).await.unwrap();
    assert_eq!(plan.summary().chosen, 0);
    assert_eq!(plan.run().await.unwrap().chosen, 0);

    // By force, either of them can be had.
    assert_eq!(letters.run(RedriveQuery::all().event(ids[1]).force()).await, 1);
    assert_eq!(state(ids[1]).await, Redriven);
    let query = RedriveQuery::all().event(ids[0]).force();
    let plan = letters.redrive.plan_discard(&query).await.unwrap();
    assert_eq!(plan.run().await.unwrap().chosen, 1);
    assert_eq!(state(ids[0]).await, Discarded);
    letters.source.close().await.unwrap();
});

on_both!(what_was_discarded_since_a_plan_was_made_is_passed_over, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 1).await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        ids.push(letters.add(key, "thing.happened.v1", &failure()).await);
    }
    let redrive = letters.redrive.plan(&RedriveQuery::all()).await.unwrap();
    let discard = letters.redrive.plan_discard(&RedriveQuery::all()).await.unwrap();
    let first = letters.redrive.plan_discard(&RedriveQuery::all().event(ids[0])).await.unwrap();
    assert_eq!(first.run().await.unwrap().chosen, 1);
    let sent = redrive.run().await.unwrap();
    assert_eq!((sent.chosen, sent.discarded_before), (2, 1));
    let done = discard.run().await.unwrap();
    assert_eq!((done.chosen, done.discarded_before, done.redriven_before), (0, 1, 2));
    let back = letters.back(&cluster).await;
    assert!(back.len() == 2 && !back.contains(&ids[0]), "{back:?}");
    letters.source.close().await.unwrap();
});

on_both!(a_letter_can_be_named_by_its_place, async |cluster: Cluster| {
    let mut letters = Letters::new(&cluster, 1).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(letters.add("k", "thing.happened.v1", &failure()).await);
    }
    let two = letters.redrive.clone().at(0, 1).at(0, 3);
    assert_eq!(two.list(&RedriveQuery::all(), None).await.unwrap().len(), 2);
    assert_eq!(
        two.plan_discard(&RedriveQuery::all()).await.unwrap().run().await.unwrap().chosen,
        2
    );
    let one = letters.redrive.clone().at(0, 2);
    assert_eq!(one.plan(&RedriveQuery::all()).await.unwrap().run().await.unwrap().chosen, 1);
    assert_eq!(letters.back(&cluster).await, [ids[2]]);
    assert_eq!(letters.run(RedriveQuery::all()).await, 1);
    assert_eq!(letters.back(&cluster).await, [ids[2], ids[0]]);
    // A note, a place that has nothing yet, a partition that isn't there.
    for (partition, offset) in [(0, 4), (0, 99), (7, 0), (0, -1)] {
        let found = letters.redrive.letter(partition, offset).await.unwrap();
        assert!(found.is_none(), "{partition} {offset}");
    }
    letters.source.close().await.unwrap();
});

async fn limit(cluster: &Cluster, topic: &TopicName, bytes: &str) {
    let admin: AdminClient<_> = client(&cluster.brokers()).create().unwrap();
    let changed = AlterConfig::new(ResourceSpecifier::Topic(topic.as_str()));
    let changed = changed.set("max.message.bytes", bytes);
    let results = admin.alter_configs(&[changed], &AdminOptions::new()).await.unwrap();
    results[0].as_ref().unwrap();
}

on_both!(a_redrive_without_a_dead_letter_topic_says_so, async |cluster: Cluster| {
    let redrive = KafkaRedrive::new(cluster.config(), unique_topic());
    let error = redrive.plan(&RedriveQuery::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
});
