//! The framing, without a relay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use relaybox_avro::{Compatibility, EventSchema, RegistryFraming, SubjectStrategy};
use relaybox_core::{
    Envelope, Error, ErrorKind, Framing, Outbox, Result, SchemaFingerprint, SchemaStore,
    StoredSchema, TopicName, async_trait, memory::MemoryStore,
};

use tokio::sync::watch;

use crate::support::{
    Gate, ID, PATIENCE, REQUIRED, Reply, SessionCreated, Stub, USER, codec, registry, registry_url,
    schema, session, unique_topic, until, v1, v2, within,
};

/// A store with these schemas.
async fn stored(schemas: &[EventSchema]) -> MemoryStore {
    let store = MemoryStore::new();
    let schemas: Vec<_> = schemas.iter().map(EventSchema::stored).collect();
    store.put_schemas(&schemas).await.unwrap();
    store
}

/// An event as it lies in the outbox.
fn event(schema: &EventSchema) -> Envelope {
    let outbox = Outbox::builder(MemoryStore::new()).codec(codec::<SessionCreated>(schema)).build();
    outbox.envelope(&session("s-1", 7)).unwrap()
}

/// Fails to frame, and leaves the event as it was.
async fn refused(framing: &RegistryFraming, topic: &TopicName, event: &Envelope) -> Error {
    let mut envelope = event.clone();
    let error = framing.frame(topic, &mut envelope).await.unwrap_err();
    assert_eq!(envelope, *event);
    error
}

#[tokio::test]
async fn a_payload_gets_the_registrys_id_and_is_otherwise_the_same() {
    let Some(url) = registry_url() else { return };
    let (registry, topic) = (registry(&url), unique_topic());
    let framing = RegistryFraming::new(registry.clone(), stored(&[v1()]).await);
    let bare = event(&v1());
    let mut framed = bare.clone();
    framing.frame(&topic, &mut framed).await.unwrap();
    let subject = format!("{topic}-relaybox.tests.SessionCreated");
    let id = registry.latest(&subject).await.unwrap().unwrap().id;
    assert_eq!(framed.payload[0], 0);
    assert_eq!(framed.payload[1..5], id.to_be_bytes());
    assert_eq!(framed.payload[5..], bare.payload);
    assert_eq!(framed.content_type, "application/avro");
    // Of what was framed, and of what is none of its business, it changes nothing.
    for content_type in ["application/avro", "application/json"] {
        framed.content_type = content_type.into();
        let before = framed.clone();
        framing.frame(&topic, &mut framed).await.unwrap();
        assert_eq!(framed, before);
    }
}

#[tokio::test]
async fn a_subject_is_named_as_told() {
    let Some(url) = registry_url() else { return };
    let (registry, topic) = (registry(&url), unique_topic());
    let framing = RegistryFraming::new(registry.clone(), stored(&[v1()]).await)
        .subjects(SubjectStrategy::TopicName);
    framing.frame(&topic, &mut event(&v1())).await.unwrap();
    assert!(registry.latest(&format!("{topic}-value")).await.unwrap().is_some());
}

#[tokio::test]
async fn while_the_registry_is_down_known_schemas_pass_and_new_ones_wait() {
    let Some(url) = registry_url() else { return };
    let gate = Gate::before(&url).await;
    let topic = unique_topic();
    let framing = RegistryFraming::new(registry(gate.url()), stored(&[v1(), v2()]).await);
    framing.frame(&topic, &mut event(&v1())).await.unwrap();
    gate.shut();
    framing.frame(&topic, &mut event(&v1())).await.unwrap();
    for _ in 0..2 {
        let error = refused(&framing, &topic, &event(&v2())).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    gate.open();
    framing.frame(&topic, &mut event(&v2())).await.unwrap();
    gate.shut();
    framing.frame(&topic, &mut event(&v2())).await.unwrap();
}

#[tokio::test]
async fn an_incompatible_schema_is_held_back_with_the_field_named_until_it_is_allowed() {
    let Some(url) = registry_url() else { return };
    let (registry, topic) = (registry(&url), unique_topic());
    let next = schema(&[ID, USER, r#"{"name": "count", "type": "int"}"#]);
    let removed = schema(&[ID]);
    let framing = RegistryFraming::new(
        registry.clone(),
        stored(&[v1(), next.clone(), removed.clone()]).await,
    );
    framing.frame(&topic, &mut event(&v1())).await.unwrap();
    let mut waiting = event(&v1());
    for (schema, field) in [(&next, "count"), (&removed, "user_id")] {
        waiting.content_type =
            format!("application/avro; fingerprint={}", schema.fingerprint()).into();
        let error = refused(&framing, &topic, &waiting).await;
        assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
        assert!(error.to_string().contains(field), "{error}");
    }
    let subject = format!("{topic}-relaybox.tests.SessionCreated");
    assert_eq!(registry.versions(&subject).await.unwrap(), [1]);
    // Somebody answers for it.
    registry.register(&subject, &removed).await.unwrap();
    framing.frame(&topic, &mut waiting).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_registers_nothing_waits_until_somebody_does() {
    let Some(url) = registry_url() else { return };
    let (registry, topic) = (registry(&url), unique_topic());
    let framing = RegistryFraming::new(registry.clone(), stored(&[v1()]).await).register(false);
    let subject = format!("{topic}-relaybox.tests.SessionCreated");
    let error = refused(&framing, &topic, &event(&v1())).await;
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
    assert!(error.to_string().contains(&subject), "{error}");
    assert_eq!(registry.latest(&subject).await.unwrap(), None);
    registry.register(&subject, &v1()).await.unwrap();
    framing.frame(&topic, &mut event(&v1())).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_nobody_stored_is_waited_for_and_said_how_to_store() {
    let stub = Stub::start(|_, _| {
        Reply::new(200, r#"{"subject": "s", "id": 9, "version": 1, "schema": ""}"#)
    })
    .await;
    let store = MemoryStore::new();
    let framing = RegistryFraming::new(registry(&stub.url()), store.clone());
    let topic = unique_topic();
    let error = refused(&framing, &topic, &event(&v1())).await;
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
    assert!(error.to_string().contains("store_schemas"), "{error}");
    codec::<SessionCreated>(&v1()).store_schemas(&store).await.unwrap();
    let mut envelope = event(&v1());
    framing.frame(&topic, &mut envelope).await.unwrap();
    assert_eq!(envelope.payload[..5], [0, 0, 0, 0, 9]);
}

/// Gives texts that are not what they were, or none, or fails; counts.
struct Odd {
    answer: Box<dyn Fn() -> Result<Option<String>> + Send + Sync>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl SchemaStore for Odd {
    async fn put_schemas(&self, _: &[StoredSchema]) -> Result<()> {
        Ok(())
    }

    async fn schema(&self, fingerprint: &SchemaFingerprint) -> Result<Option<StoredSchema>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let text = (self.answer)()?;
        Ok(text.map(|text| StoredSchema::new(*fingerprint, "avro", text)))
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn nothing_that_store_or_registry_say_makes_an_event_a_dead_letter() {
    let is_of_event = |kind| {
        matches!(
            kind,
            ErrorKind::Decode | ErrorKind::Encode | ErrorKind::TooLarge | ErrorKind::Rejected
        )
    };
    let stub = Stub::start(|_, _| Reply::new(200, "x".repeat(5_000_000))).await;
    type Text = fn() -> Result<Option<String>>;
    let texts: [(Text, &str); 5] = [
        (|| Ok(Some("no schema".to_owned())), "schema"),
        (|| Ok(Some(v2().text().to_owned())), "it was changed"),
        (|| Ok(Some(r#""string""#.to_owned())), "it was changed"),
        (|| Ok(Some(v1().text().to_owned())), "more than"),
        (|| Err(Error::new(ErrorKind::TooLarge, "read the store")), "read the store"),
    ];
    for (text, why) in texts {
        let store = Odd { answer: Box::new(text), asked: Arc::default() };
        let framing = RegistryFraming::new(registry(&stub.url()), store);
        let error = refused(&framing, &unique_topic(), &event(&v1())).await;
        assert!(!is_of_event(error.kind()), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_content_type_that_names_no_fingerprint_is_the_events_own_fault() {
    let framing = RegistryFraming::new(registry("http://127.0.0.1:9"), MemoryStore::new());
    let mut envelope = event(&v1());
    envelope.content_type = "application/avro; fingerprint=12".into();
    let error = refused(&framing, &unique_topic(), &envelope).await;
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn many_that_need_an_id_search_it_once_and_never_again() {
    let body = r#"{"subject": "s", "id": 9, "version": 1, "schema": ""}"#;
    let stub = Stub::start(move |_, _| Reply::new(200, body)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = Box::new(|| Ok(Some(v1().text().to_owned())));
    let store = Odd { answer, asked: Arc::clone(&asked) };
    let framing = RegistryFraming::new(registry(&stub.url()), store);
    let topic = unique_topic();
    let tasks = (0..50).map(|_| {
        let (framing, topic) = (framing.clone(), topic.clone());
        tokio::spawn(async move { framing.frame(&topic, &mut event(&v1())).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    framing.frame(&topic, &mut event(&v1())).await.unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), stub.asked().len()), (1, 1));
    // On another topic it is another subject.
    framing.frame(&unique_topic(), &mut event(&v1())).await.unwrap();
    assert_eq!((asked.load(Ordering::SeqCst), stub.asked().len()), (2, 2));
}

#[tokio::test]
async fn a_search_goes_on_when_nobody_waits_for_it_and_others_are_held_up_briefly() {
    let body = r#"{"subject": "s", "id": 9, "version": 1, "schema": ""}"#;
    let (answer, answers) = watch::channel(false);
    let stub =
        Stub::start(move |_, _| Reply { when: Some(answers.clone()), ..Reply::new(200, body) })
            .await;
    let framing = RegistryFraming::new(registry(&stub.url()), stored(&[v1()]).await)
        .patience(Duration::from_millis(20));
    let topic = unique_topic();
    for _ in 0..3 {
        let error = within(refused(&framing, &topic, &event(&v1()))).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    let dropped = {
        let (framing, topic) = (framing.clone().patience(PATIENCE), topic.clone());
        tokio::spawn(async move { framing.frame(&topic, &mut event(&v1())).await })
    };
    tokio::task::yield_now().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    answer.send_replace(true);
    until(async || framing.frame(&topic, &mut event(&v1())).await.is_ok()).await;
    assert_eq!(stub.asked().len(), 1);
}

#[tokio::test]
async fn a_required_field_may_come_where_the_subject_demands_no_more_than_that_old_reads_new() {
    let Some(url) = registry_url() else { return };
    let (registry, topic) = (registry(&url), unique_topic());
    let next = schema(&[ID, USER, REQUIRED]);
    let framing = RegistryFraming::new(registry.clone(), stored(&[v1(), next.clone()]).await);
    framing.frame(&topic, &mut event(&v1())).await.unwrap();
    let subject = format!("{topic}-relaybox.tests.SessionCreated");
    registry.set_compatibility(&subject, Compatibility::Forward).await.unwrap();
    let mut envelope = event(&v1());
    envelope.content_type = format!("application/avro; fingerprint={}", next.fingerprint()).into();
    framing.frame(&topic, &mut envelope).await.unwrap();
    assert_eq!(registry.versions(&subject).await.unwrap(), [1, 2]);
}

/// Doesn't answer the first time.
struct Hung(AtomicUsize);

#[async_trait]
impl SchemaStore for Hung {
    async fn put_schemas(&self, _: &[StoredSchema]) -> Result<()> {
        Ok(())
    }

    async fn schema(&self, _: &SchemaFingerprint) -> Result<Option<StoredSchema>> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        Ok(None)
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>> {
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_asked_again_after_a_time() {
    let framing = RegistryFraming::new(registry("http://127.0.0.1:9"), Hung(AtomicUsize::new(0)));
    let (topic, event) = (unique_topic(), event(&v1()));
    for _ in 0..2 {
        let error = refused(&framing, &topic, &event).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    let whole = framing.clone().patience(Duration::from_secs(60));
    let error = refused(&whole, &topic, &event).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("30s"), "{error}");
    let error = refused(&framing, &topic, &event).await;
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable, "{error}");
}
