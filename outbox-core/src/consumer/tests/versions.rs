//! Older versions of an event, brought up to the one that handlers take.

use super::*;

macro_rules! version {
    ($name:ident, $version:literal, $field:ident: $type:ty) => {
        #[derive(Debug, Serialize, Deserialize)]
        struct $name {
            key: String,
            $field: $type,
        }

        impl DomainEvent for $name {
            const EVENT_TYPES: &'static [EventType] =
                &[EventType::from_static("thing.named", $version)];

            fn event_type(&self) -> EventType {
                Self::EVENT_TYPES[0].clone()
            }

            fn aggregate_type(&self) -> &'static str {
                "thing"
            }

            fn aggregate_id(&self) -> String {
                self.key.clone()
            }

            fn partition_key(&self) -> Option<String> {
                None
            }
        }
    };
}

version!(NamedV1, 1, name: String);
version!(NamedV2, 2, names: Vec<String>);
version!(Named, 3, count: usize);
version!(OtherV2, 2, other: String);
version!(NamedV4, 4, later: u8);

fn split(old: NamedV1) -> Result<NamedV2, HandlerError> {
    if old.name == "nobody" {
        return Err(HandlerError::retryable("no name"));
    }
    Ok(NamedV2 { key: old.key, names: old.name.split(' ').map(str::to_owned).collect() })
}

fn count(old: NamedV2) -> Result<Named, HandlerError> {
    Ok(Named { key: old.key, count: old.names.len() })
}

struct Note;

#[async_trait]
impl EventHandler<Named, MemoryTx> for Note {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Named,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        let list = tx.get(&event.key).unwrap_or_default();
        let version = envelope.event_type.version();
        tx.put(&event.key, format!("{list}v{version}={},", event.count));
        Ok(())
    }
}

fn send_any<E: DomainEvent + Serialize>(bus: &MemoryBus, store: &MemoryStore, event: &E) {
    bus.append(&topic(), record(&Outbox::new(store.clone()).envelope(event).unwrap()));
}

fn key() -> String {
    "a".to_owned()
}

#[tokio::test(start_paused = true)]
async fn handlers_see_only_the_newest_version_and_each_event_once() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send_any(&bus, &store, &NamedV1 { key: key(), name: "Ada King".to_owned() });
    send_any(&bus, &store, &NamedV2 { key: key(), names: vec![String::new(); 3] });
    bus.append(&topic(), bus.records(&topic())[0].clone());
    let consumer =
        builder(&bus, &store).upcast(count).on::<Named, _>(Note).upcast(split).build().unwrap();
    let consumer = Running::start(consumer);
    send_any(&bus, &store, &Named { key: key(), count: 4 });
    until(|| store.get("a").is_some_and(|list| list.ends_with("v3=4,"))).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "v1=2,v2=3,v3=4,");
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_and_one_whose_step_fails_go_to_the_dead_letters_at_once() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send_any(&bus, &store, &NamedV4 { key: key(), later: 1 });
    send_any(&bus, &store, &NamedV1 { key: key(), name: "nobody".to_owned() });
    send_any(&bus, &store, &Named { key: key(), count: 4 });
    let consumer =
        builder(&bus, &store).on::<Named, _>(Note).upcast(split).upcast(count).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "v3=4,");
    let dead = dead_letters(&bus);
    let header =
        |n: usize, name| String::from_utf8_lossy(dead[n].header(name).unwrap()).into_owned();
    assert_eq!(header(0, "dlq-error-kind"), "unsupported_version");
    assert!(header(0, "dlq-error").contains("thing.named.v4"));
    assert_eq!(
        (header(1, "dlq-error-kind"), header(1, "dlq-attempts")),
        ("decode".into(), "1".into())
    );
    assert!(header(1, "dlq-error").contains("no name"), "{}", header(1, "dlq-error"));
}

#[test]
fn steps_that_lead_nowhere_are_refused_when_the_consumer_is_built() {
    let refused = |build: &dyn Fn(
        ConsumerBuilder<MemorySource, MemoryStore>,
    ) -> ConsumerBuilder<MemorySource, MemoryStore>,
                   why: &str| {
        let builder = builder(&MemoryBus::new(), &MemoryStore::new()).on::<Named, _>(Note);
        let error = build(builder).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&|b| b.upcast(split), "lead to thing.named.v2, without handlers");
    refused(&|b| b.upcast(split).upcast(count).upcast(count), "thing.named.v2 has a step");
    let other = |old: NamedV1| Ok(OtherV2 { key: old.key, other: old.name });
    refused(&|b| b.upcast(other).upcast(count), "gives another type than the step from it takes");
    let back = |old: NamedV2| Ok(NamedV1 { key: old.key, name: String::new() });
    refused(&|b| b.upcast(back), "which is not later");
    let rename = |old: NamedV1| Ok(Counted { key: old.key, n: 0 });
    refused(&|b| b.upcast(rename), "must have one event type of that name");
}
