//! Which dead letters are put back, and as what.

#![expect(clippy::unwrap_used, reason = "the helpers belong to tests")]

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use relaybox_core::{
    ConsumerDeadLetter, ConsumerName, Delivery, ErrorKind, EventId, Failure, Partition,
    RedriveQuery, RedriveSummary, RedriveVerdict, TopicName,
};

fn origin() -> TopicName {
    TopicName::new("session-events.v1").unwrap()
}

fn original(id: EventId) -> Delivery {
    let mut delivery = Delivery::new(Partition::new(origin(), 3, 1), 17);
    delivery.key = Some("s-1".into());
    delivery.value = Some(Bytes::from_static(b"{\"n\":1}"));
    delivery.headers = vec![
        ("ce_id".into(), id.to_string().into()),
        ("ce_type".into(), "session.created.v2".into()),
        // One of the record's own that is called as one of ours.
        ("dlq-error".into(), "not ours".into()),
        ("redrive-consumer".into(), "somebody".into()),
    ];
    delivery
}

fn letter(id: EventId, failed_at: DateTime<Utc>) -> Delivery {
    let original = original(id);
    let consumer = ConsumerName::new("mailer").unwrap();
    let failure = Failure::new(consumer, ErrorKind::Timeout, "took 30 s".to_owned(), 5, failed_at);
    let topic = TopicName::new("session-events.v1.dlq").unwrap();
    let mut letter = Delivery::new(Partition::new(topic, 0, 0), 99);
    (letter.key, letter.value) = (original.key.clone(), original.value.clone());
    letter.headers.clone_from(&original.headers);
    let added = failure.headers(&original).into_iter();
    letter.headers.extend(added.map(|(name, value)| (name.into(), value.into())));
    letter.headers.push(("x-copied-by".into(), "a mirror".into()));
    letter
}

fn read(id: EventId) -> ConsumerDeadLetter {
    ConsumerDeadLetter::read(letter(id, Utc::now())).unwrap()
}

#[test]
fn a_dead_letter_says_where_it_was_given_up_on_and_why_and_keeps_its_own_headers() {
    let id = EventId::new();
    let read = read(id);
    assert_eq!(read.origin, origin());
    assert_eq!((read.partition, read.offset, read.attempts), (3, 17, 5));
    assert_eq!((read.error_kind.as_str(), read.error.as_str()), ("timeout", "took 30 s"));
    assert_eq!((read.consumer.as_str(), read.event_id), ("mailer", Some(id)));
    assert_eq!(read.event_type.as_deref(), Some("session.created.v2"));
    assert_eq!(read.delivery.offset, 99, "its place among the dead letters");
    let own = original(id).headers;
    assert_eq!(read.delivery.headers[..own.len()], own);
    assert_eq!(read.delivery.headers[own.len()].0, "x-copied-by");
}

#[test]
fn it_is_put_back_with_its_own_headers_and_the_name_of_its_consumer() {
    let read = read(EventId::new());
    let headers: Vec<_> = read.redriven_headers().collect();
    let consumers: Vec<_> =
        headers.iter().filter(|(name, _)| *name == "redrive-consumer").collect();
    assert_eq!(consumers, [&("redrive-consumer", &b"mailer"[..])]);
    assert!(headers.contains(&("dlq-error", &b"not ours"[..])));
    assert!(!headers.iter().any(|(name, _)| *name == "dlq-consumer"));
}

#[test]
fn what_is_no_dead_letter_of_ours_is_none() {
    let id = EventId::new();
    assert!(ConsumerDeadLetter::read(original(id)).is_none());
    for broken in ["dlq-original-topic", "dlq-original-offset", "dlq-failed-at", "dlq-consumer"] {
        let mut letter = letter(id, Utc::now());
        letter.headers.retain(|(name, _)| name != broken);
        assert!(ConsumerDeadLetter::read(letter).is_none(), "without {broken}");
    }
}

#[test]
fn a_query_chooses_by_time_type_error_key_id_and_consumer() {
    let (id, now) = (EventId::new(), Utc::now());
    let hour = TimeDelta::hours(1);
    let letter = ConsumerDeadLetter::read(letter(id, now)).unwrap();
    let chosen = |query: RedriveQuery| query.judge(&letter, false, now) == RedriveVerdict::Chosen;
    let all = RedriveQuery::all;
    for query in [
        all(),
        all().since(now - hour).until(now + hour),
        all().event_type("session.created"),
        all().event_type("session.created.v2"),
        all().error_kind("timeout"),
        all().error_contains("30 s"),
        all().key("s-1"),
        all().event(EventId::new()).event(id),
        all().consumer(ConsumerName::new("mailer").unwrap()),
        all().marks_kept(Duration::from_secs(60)),
    ] {
        assert!(chosen(query.clone()), "{query:?}");
    }
    for query in [
        all().since(now + hour),
        all().until(now - hour),
        all().event_type("session"),
        all().event_type("session.created.v1"),
        all().error_kind("time"),
        all().error_contains("31 s"),
        all().key("s-2"),
        all().event(EventId::new()),
        all().consumer(ConsumerName::new("other").unwrap()),
    ] {
        assert!(!chosen(query.clone()), "{query:?}");
    }
}

#[test]
fn what_was_put_back_or_is_older_than_the_marks_is_refused_without_force() {
    let now = Utc::now();
    let old = ConsumerDeadLetter::read(letter(EventId::new(), now - TimeDelta::days(8))).unwrap();
    let week = Duration::from_secs(7 * 24 * 3600);
    let query = RedriveQuery::all().marks_kept(week);
    assert_eq!(query.judge(&old, false, now), RedriveVerdict::OlderThanMarks);
    assert_eq!(query.judge(&old, true, now), RedriveVerdict::RedrivenBefore);
    assert_eq!(query.clone().force().judge(&old, true, now), RedriveVerdict::Chosen);
    // Forced or not, nobody asked for it.
    let others = query.force().error_kind("decode");
    assert_eq!(others.judge(&old, false, now), RedriveVerdict::NotAsked);
}

#[test]
fn a_summary_counts_up_to_the_limit_and_reads_as_a_plan() {
    let query = RedriveQuery::all().limit(2);
    let mut summary = RedriveSummary::default();
    let now = Utc::now();
    let taken: Vec<_> = (0..3)
        .map(|_| {
            let letter = read(EventId::new());
            let verdict = query.judge(&letter, false, now);
            summary.count(&query, &letter, verdict)
        })
        .collect();
    assert_eq!(taken, [true, true, false]);
    summary.foreign = 1;
    assert_eq!(
        summary.to_string(),
        "2 to put back, 1 beyond the limit, 1 of another origin\n  \
         2 × session.created.v2\n  2 × error timeout"
    );
}
