//! Messages, there and back.

use chrono::Utc;
use relaybox_core::{
    AggregateId, AggregateType, ConsumerDeadLetter, ConsumerName, ErrorKind, EventType,
};

use super::*;

fn partition() -> Partition {
    Partition::new(TopicName::new("q").unwrap(), 0, 1)
}

fn event() -> (Envelope, Message) {
    let mut envelope = Envelope::new(
        EventType::new("session.created", 2).unwrap(),
        AggregateType::new("session").unwrap(),
        AggregateId::new("s-1").unwrap(),
        &b"{}"[..],
    );
    envelope.metadata.headers.insert("zone", "7").unwrap();
    envelope.metadata.headers.insert("account", "").unwrap();
    let record = Record::new(TopicName::new("session-events.v1").unwrap(), envelope.clone());
    (envelope, of_event(&record, &TopicName::new("events").unwrap(), "relaybox"))
}

fn failure() -> Failure {
    let consumer = ConsumerName::new("notifications").unwrap();
    Failure::new(consumer, ErrorKind::Decode, "broken".to_owned(), 3, Utc::now())
}

#[test]
fn an_event_comes_back_byte_for_byte_in_the_usual_order() {
    let (envelope, message) = event();
    assert_eq!(message.routing_key.as_str(), "session.session.created.v2");
    let delivery = read(partition(), 7, &message.properties, message.body);
    let mut headers = Vec::new();
    cloudevents::headers(&envelope, |name, value| {
        headers.push((name.into(), Bytes::copy_from_slice(value)));
    });
    assert_eq!(delivery.headers, headers);
    assert_eq!(delivery.key.as_deref(), Some(&b"s-1"[..]));
}

#[test]
fn the_place_is_the_same_after_a_retry_and_another_after_a_redrive() {
    let (_, message) = event();
    let first = read(partition(), 7, &message.properties, message.body.clone());
    let retried = of_retry(&first, Some(&message.properties), "q.retry.1000".to_owned());
    let mut on_the_way = retried.properties.headers().clone().unwrap();
    on_the_way.insert("x-death".into(), AMQPValue::FieldArray(Default::default()));
    on_the_way.insert("x-first-death-queue".into(), long(b"q.retry.1000"));
    on_the_way.insert("x-delivery-count".into(), AMQPValue::LongLongInt(2));
    let again = read(partition(), 1, &retried.properties.with_headers(on_the_way), message.body);
    assert_eq!((again.place, again.attempts), (first.place, 1));
    assert_eq!(again.headers, first.headers);

    let dlq = TopicName::new("q.dlq").unwrap();
    let letter = of_dead_letter(&first, Some(&message.properties), &failure(), &dlq);
    let queue = TopicName::new("q").unwrap();
    let redriven = of_redriven(&letter.properties, letter.body, "notifications", &queue);
    let redriven = read(partition(), 1, &redriven.properties, redriven.body);
    assert_ne!(redriven.place, first.place);
    let added: Vec<_> =
        redriven.headers[first.headers.len()..].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(added, [REDRIVE_CONSUMER, REDRIVE_ID]);
    assert_eq!(redriven.headers[..first.headers.len()], first.headers);
}

#[test]
fn a_dead_letter_keeps_headers_of_which_ours_have_the_names() {
    let mut delivery = Delivery::new(partition(), 7);
    delivery.key = Some(Bytes::from_static(&[0xff, 1]));
    delivery.value = Some(Bytes::from_static(&[0, 0xfe]));
    delivery.headers = vec![
        ("b".into(), Bytes::from_static(&[0xff, 0])),
        ("dlq-error".into(), Bytes::from_static(b"another's")),
    ];
    let dlq = TopicName::new("q.dlq").unwrap();
    let message = of_dead_letter(&delivery, None, &failure(), &dlq);
    let letter = read(partition(), 0, &message.properties, message.body.clone());
    let letter = ConsumerDeadLetter::read(letter).unwrap();
    assert_eq!(letter.delivery.headers, delivery.headers);
    assert_eq!(letter.delivery.key, delivery.key);
    assert_eq!((letter.error.as_str(), letter.consumer.as_str()), ("broken", "notifications"));
    let queue = TopicName::new("q").unwrap();
    let back = of_redriven(&message.properties, message.body, "notifications", &queue);
    let back = read(partition(), 0, &back.properties, back.body);
    assert_eq!(back.headers.len(), 4);
    assert!(delivery.headers.iter().all(|header| back.headers.contains(header)));
}

#[test]
fn types_that_a_stranger_used_survive_the_dead_letter_queue() {
    let table = BTreeMap::from([
        (ShortString::from("n"), AMQPValue::LongInt(-7)),
        (ShortString::from("list"), AMQPValue::FieldArray(vec![AMQPValue::Void].into())),
    ]);
    let properties = BasicProperties::default()
        .with_headers(table.clone().into())
        .with_expiration("1000".into())
        .with_correlation_id("c".into());
    let delivery = read(partition(), 7, &properties, Bytes::new());
    assert_eq!(delivery.headers, [("n".into(), Bytes::from_static(b"-7"))]);
    let dlq = TopicName::new("q.dlq").unwrap();
    let letter = of_dead_letter(&delivery, Some(&properties), &failure(), &dlq);
    let kept = letter.properties.headers().as_ref().unwrap().inner();
    assert!(table.iter().all(|(name, value)| kept.get(name) == Some(value)));
    assert_eq!(letter.properties.expiration(), &None);
    assert_eq!(letter.properties.correlation_id(), &Some("c".into()));
}
