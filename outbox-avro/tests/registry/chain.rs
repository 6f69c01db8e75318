//! Outbox, relay, Kafka, consumer, with the registry between.

use relaybox_avro::{AvroCodec, EventSchema, RegistryFraming};
use relaybox_core::{
    AggregateId, AggregateType, Consumer, ConsumerName, DomainEvent, Envelope, EventBus, EventId,
    EventType, Outbox, OutboxStore, Record, Relay, RetryPolicy, SchemaStore, TopicName,
    memory::MemoryStore,
};
use relaybox_kafka::{KafkaBus, KafkaConfig, KafkaSource, dead_letter_topic};
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, sync::Mutex, time::Duration};

use crate::support::{
    CartOpened, Gate, ID, Noted, Running, SessionCreated, SessionCreatedLater, USER, both,
    both_servers, codec, make_topics, notes, registry, running, schema, session, topics,
    unique_topic, until, v1, v2, within,
};

/// Commits events to an outbox.
async fn commit<E>(store: &MemoryStore, codec: &AvroCodec, events: &[E])
where
    E: DomainEvent + Serialize + Sync,
{
    let outbox = Outbox::builder(store.clone()).codec(codec.clone()).build();
    let mut tx = store.begin();
    outbox.enqueue_all(&mut tx, events).await.unwrap();
    tx.commit();
}

fn relay(
    store: &MemoryStore,
    kafka: &KafkaConfig,
    routes: &[(&'static str, &TopicName)],
    framing: RegistryFraming,
) -> (Running, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let errors = Arc::clone(&told);
    let bus = KafkaBus::new(kafka.clone()).unwrap();
    let soon = RetryPolicy::default().cap(Duration::from_millis(300));
    let relay = Relay::builder(store.clone(), bus)
        .topics(topics(routes))
        .framing(framing)
        .retry(soon)
        .on_error(move |notice| errors.lock().unwrap().push(notice.error.to_string()))
        .build();
    (running(|shutdown| relay.run(shutdown)), told)
}

/// A consumer of one event type that notes what it gets, in a store of its own.
fn consumer<E>(kafka: &KafkaConfig, topic: &TopicName, codec: AvroCodec) -> (Running, MemoryStore)
where
    E: DomainEvent + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let inbox = MemoryStore::new();
    let group = ConsumerName::new(format!("g-{}", EventId::new())).unwrap();
    let source = KafkaSource::new(kafka.clone(), group, vec![topic.clone()]).unwrap();
    let soon = RetryPolicy::default().cap(Duration::from_millis(300));
    let consumer = Consumer::builder("notifications", source, inbox.clone())
        .codec(codec)
        .retry(soon)
        .on_dead_letter(|notice| eprintln!("given up on: {}", notice.reason))
        .on::<E, _>(Noted)
        .build()
        .unwrap();
    (running(|shutdown| consumer.run(shutdown)), inbox)
}

async fn published(store: &MemoryStore) {
    until(async || store.stats().await.unwrap().backlog == 0).await;
    assert_eq!(store.stats().await.unwrap().dead_letters, 0);
}

/// How many records a topic has.
async fn count(kafka: &KafkaConfig, topic: &TopicName) -> usize {
    let group = ConsumerName::new(format!("g-{}", EventId::new())).unwrap();
    let source = KafkaSource::new(kafka.clone(), group, vec![topic.clone()]).unwrap();
    use relaybox_core::{EventSource, Received};
    let mut count = 0;
    // To join takes three seconds of these.
    while let Ok(Ok(Received::Batch { deliveries, .. })) =
        tokio::time::timeout(Duration::from_secs(15), source.receive()).await
    {
        count += deliveries.len();
    }
    source.close().await.unwrap();
    count
}

fn json<E: Serialize>(events: &[E]) -> Vec<String> {
    let mut texts: Vec<_> =
        events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_in_the_middle_loses_nothing_and_makes_no_dead_letter() {
    let Some((url, kafka)) = both_servers() else { return };
    let gate = Gate::before(&url).await;
    let (sessions, carts) = (unique_topic(), unique_topic());
    make_topics(&kafka, &[&sessions, &carts]).await;
    let (store, writer) = (MemoryStore::new(), both());
    writer.store_schemas(&store).await.unwrap();
    let framing = RegistryFraming::new(registry(gate.url()), store.clone());
    let (relay, told) = relay(&store, &kafka, &[("session", &sessions), ("cart", &carts)], framing);

    let events: Vec<_> = (0..40).map(|n| session(&format!("s-{}", n % 4), n)).collect();
    commit(&store, &writer, &events[..20]).await;
    published(&store).await;
    gate.shut();
    // The schema of sessions is known to the relay, that of carts is not.
    let cart = [CartOpened { cart_id: "c-1".to_owned() }];
    commit(&store, &writer, &cart).await;
    commit(&store, &writer, &events[20..]).await;
    until(async || store.stats().await.unwrap().backlog == 1).await;
    // A consumer that begins now knows no schema, and waits.
    let reader =
        |codec: relaybox_avro::AvroCodecBuilder| codec.registry(registry(gate.url())).build();
    let codec = reader(AvroCodec::builder().schema_of::<SessionCreated>(v1().text()).unwrap());
    let (consumer, inbox) = consumer::<SessionCreated>(&kafka, &sessions, codec);
    until(async || !told.lock().unwrap().is_empty()).await;
    assert!(told.lock().unwrap()[0].contains("registry"), "{told:?}");
    assert!(notes(&inbox).is_empty());

    gate.open();
    published(&store).await;
    until(async || notes(&inbox).len() == events.len()).await;
    assert_eq!(notes(&inbox), json(&events));
    consumer.stop().await;
    relay.stop().await;
    assert_eq!(count(&kafka, &dead_letter_topic(&sessions).unwrap()).await, 0);
    assert_eq!(count(&kafka, &carts).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_of_either_version_understand_each_other() {
    let Some((url, kafka)) = both_servers() else { return };
    let topic = unique_topic();
    make_topics(&kafka, &[&topic]).await;
    let store = MemoryStore::new();
    let schemas = [v1().stored(), v2().stored()];
    store.put_schemas(&schemas).await.unwrap();
    let framing = RegistryFraming::new(registry(&url), store.clone());
    let (relay, _) = relay(&store, &kafka, &[("session", &topic)], framing);
    let later = |device: Option<&str>, user_id| SessionCreatedLater {
        session_id: "s".to_owned(),
        user_id,
        device: device.map(str::to_owned),
    };
    commit(&store, &codec::<SessionCreated>(&v1()), &[session("s", 1)]).await;
    commit(
        &store,
        &codec::<SessionCreatedLater>(&v2()),
        &[later(Some("phone"), 2), later(None, 3)],
    )
    .await;
    commit(&store, &codec::<SessionCreated>(&v1()), &[session("s", 4)]).await;

    let reader = |schema: &EventSchema| {
        let codec = AvroCodec::builder().schema_of::<SessionCreated>(schema.text()).unwrap();
        codec.registry(registry(&url)).build()
    };
    let (old, of_old) = consumer::<SessionCreated>(&kafka, &topic, reader(&v1()));
    let (new, of_new) = consumer::<SessionCreatedLater>(&kafka, &topic, reader(&v2()));
    until(async || notes(&of_old).len() == 4 && notes(&of_new).len() == 4).await;
    assert_eq!(
        notes(&of_old),
        json(&[session("s", 1), session("s", 2), session("s", 3), session("s", 4)])
    );
    let expected = [later(None, 1), later(Some("phone"), 2), later(None, 3), later(None, 4)];
    assert_eq!(notes(&of_new), json(&expected));
    old.stop().await;
    new.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incompatible_schema_holds_back_its_aggregate_type_alone_until_it_is_mended() {
    let Some((url, kafka)) = both_servers() else { return };
    let (sessions, carts) = (unique_topic(), unique_topic());
    make_topics(&kafka, &[&sessions, &carts]).await;
    let registry = registry(&url);
    // What the topic's consumers were promised has a field that our events have not.
    let promised = schema(&[ID, USER, r#"{"name": "region", "type": "string"}"#]);
    let subject = format!("{sessions}-relaybox.tests.SessionCreated");
    registry.register(&subject, &promised).await.unwrap();

    let (store, writer) = (MemoryStore::new(), both());
    writer.store_schemas(&store).await.unwrap();
    let framing = RegistryFraming::new(registry.clone(), store.clone());
    let (relay, told) = relay(&store, &kafka, &[("session", &sessions), ("cart", &carts)], framing);
    commit(&store, &writer, &[session("s", 1), session("s", 2)]).await;
    let cart = [CartOpened { cart_id: "c-1".to_owned() }];
    commit(&store, &writer, &cart).await;
    until(async || store.stats().await.unwrap().backlog == 2).await;
    until(async || !told.lock().unwrap().is_empty()).await;
    assert!(told.lock().unwrap().iter().all(|error| error.contains("region")), "{told:?}");
    assert_eq!(store.stats().await.unwrap().dead_letters, 0);

    // Somebody answers for it: no consumer needs the field.
    registry.register(&subject, &v1()).await.unwrap();
    published(&store).await;
    relay.stop().await;
    assert_eq!(count(&kafka, &sessions).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_with_an_unknown_id_is_a_dead_letter_and_the_rest_goes_on() {
    let Some((url, kafka)) = both_servers() else { return };
    let topic = unique_topic();
    make_topics(&kafka, &[&topic]).await;
    let registry = registry(&url);
    let id = registry.register(&format!("{topic}-value"), &v1()).await.unwrap();
    let codec = codec::<SessionCreated>(&v1());
    let outbox = Outbox::builder(MemoryStore::new()).codec(codec).build();
    let datum = outbox.envelope(&session("s", 1)).unwrap().payload;
    let record = |id: u32| {
        let payload = [&[0][..], &id.to_be_bytes(), &datum].concat();
        let mut envelope = Envelope::new(
            EventType::new("session.created", 1).unwrap(),
            AggregateType::new("session").unwrap(),
            AggregateId::new("s").unwrap(),
            payload,
        );
        envelope.content_type = "application/avro".into();
        Record::new(topic.clone(), envelope)
    };
    let bus = KafkaBus::new(kafka.clone()).unwrap();
    for result in within(bus.publish(vec![record(id), record(2_000_000_001), record(id)])).await {
        result.unwrap();
    }
    let codec = AvroCodec::builder().schema_of::<SessionCreated>(v1().text()).unwrap();
    let codec = codec.registry(registry.clone()).build();
    let (consumer, inbox) = consumer::<SessionCreated>(&kafka, &topic, codec);
    until(async || notes(&inbox).len() == 2).await;
    consumer.stop().await;
    assert_eq!(count(&kafka, &dead_letter_topic(&topic).unwrap()).await, 1);
}
