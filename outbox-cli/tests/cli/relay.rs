//! A relay of its own: a process that knows no event type.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use relaybox::{
    AggregateId, AggregateType, Envelope, EventId, EventSource, EventType, OutboxWriter, Received,
    SchemaStore, TopicName,
    avro::{EventSchema, RegistryConfig, SchemaRegistry},
    rabbitmq::{RabbitConfig, RabbitQueue, RabbitSource, RabbitTopology},
};
use relaybox_tests::{Database, Topic, server, servers, until};

use crate::support::{SqliteCase, command, ran, run};

/// A running relay; ended, by its process id, when it is dropped.
struct Running(Option<Child>);

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder);
        let command = command.args(["relay", "run"]).args(arguments);
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    fn terminate(mut self) -> crate::support::Ran {
        let child = self.0.take().unwrap();
        let kill = std::process::Command::new("kill").arg(child.id().to_string()).status();
        assert!(kill.unwrap().success());
        ran(&child.wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A folder whose relaybox.toml has the database, the topic and more.
fn configured(database: &Database, topic: &Topic, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[store]\nurl = \"{}\"\n[kafka]\nbrokers = \"{}\"\n[routes]\nthing = \"{}\"\n{more}",
        database.url(),
        topic.brokers(),
        topic.name
    );
    std::fs::write(folder.path().join("relaybox.toml"), config).unwrap();
    folder
}

#[tokio::test]
async fn a_relay_publishes_what_is_committed_and_ends_well_on_sigterm() {
    let Some((postgres, brokers)) = servers() else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::create(&brokers, &[]).await;
    let folder = configured(&database, &topic, "[relay]\nname = \"cli-test\"\nbatch = 7\n");
    for n in 0..50 {
        database.change(&format!("thing-{}", n % 5)).await;
    }
    let waiting = run(folder.path(), &["status", "--json"]).json();
    assert_eq!(waiting["store"]["backlog"], 50);

    let relay = Running::start(folder.path(), &["--log", "json"]);
    until("the outbox is empty", async || database.backlog().await == 0).await;
    let working = run(folder.path(), &["status", "--json"]).json();
    assert!(working["store"]["relay"].as_str().unwrap().starts_with("cli-test-"), "{working}");
    // It doesn't end by itself.
    database.change("thing-1").await;
    until("the outbox is empty again", async || database.backlog().await == 0).await;
    let since = Instant::now();
    let ended = relay.terminate();
    assert!(since.elapsed() < Duration::from_secs(30), "it ends when told to");
    assert_eq!(ended.code, 0, "{}", ended.err);
    for line in ended.err.lines() {
        let _: serde_json::Value = serde_json::from_str(line).unwrap();
    }
    assert!(ended.err.contains("relay stopped"), "{}", ended.err);
    let free = run(folder.path(), &["status", "--json"]).json();
    assert_eq!(free["store"]["relay"], serde_json::Value::Null, "the lease was given up");
    database.assert_published(&topic.envelopes().await).await;
    database.drop().await;
}

#[tokio::test]
async fn a_relay_publishes_redriven_dead_letters_and_ends_when_nothing_is_left_if_told_so() {
    let Some(brokers) = server("RELAYBOX_KAFKA_BROKERS") else { return };
    let case = SqliteCase::create().await;
    let topic = Topic::create(&brokers, &[]).await;
    let ids = case.enqueue(&["s-1", "s-1"]).await;
    case.give_up().await;
    case.run(&["dead-letters", "redrive"]).ok();
    let counted = |what: &str| case.run(&["status", "--json"]).json()["store"][what].clone();
    assert_eq!((counted("backlog"), counted("redriving")), (0.into(), 2.into()));
    let config = format!(
        "[store]\nurl = \"sqlite:outbox.db\"\narchive = true\n[kafka]\nbrokers = \"{brokers}\"\n\
         [routes]\nsession = \"{}\"\n",
        topic.name
    );
    std::fs::write(case.folder.path().join("relaybox.toml"), config).unwrap();
    case.run(&["relay", "run", "--drain"]).ok();
    let published: Vec<_> = topic.envelopes().await.iter().map(|event| event.event_id).collect();
    assert_eq!(published, ids);
    assert_eq!((counted("dead_letters"), counted("redriving")), (0.into(), 0.into()));
    // And they are in the archive, until they are purged.
    let purge = |age: &str| {
        let purge = ["purge", "archive", "--older-than", age, "--batch", "2", "--json"];
        case.run(&purge).json()["removed"].clone()
    };
    assert_eq!(purge("1h"), 0);
    assert_eq!(purge("0s"), 2);
}

#[tokio::test]
async fn a_relay_frames_avro_payloads_it_has_no_types_for() {
    let Some((postgres, brokers)) = servers() else { return };
    let Some(registry) = server("RELAYBOX_REGISTRY_URL") else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::create(&brokers, &[]).await;
    let schema = EventSchema::parse(
        r#"{"type": "record", "name": "Renamed", "namespace": "org.example", "fields": [
            {"name": "id", "type": "string"}, {"name": "n", "type": "long", "default": 0}]}"#,
    )
    .unwrap();
    database.store().put_schemas(&[schema.stored()]).await.unwrap();
    // {"id": "a", "n": 3}, as any language's library writes it.
    let datum = Bytes::from_static(&[2, b'a', 6]);
    let mut expected = Vec::new();
    for number in 0..20 {
        let mut event = Envelope::new(
            EventType::new("thing.renamed", 1).unwrap(),
            AggregateType::new("thing").unwrap(),
            AggregateId::new(format!("t-{number}")).unwrap(),
            datum.clone(),
        );
        event.content_type =
            format!("application/avro; fingerprint={}", schema.fingerprint()).into();
        let mut tx = database.pool.begin().await.unwrap();
        database.store().write(&mut tx, std::slice::from_ref(&event)).await.unwrap();
        tx.commit().await.unwrap();
        expected.push(event.event_id);
    }
    // A JSON event between them passes as it is.
    database.change("thing-1").await;

    let framing = format!("[registry]\nurls = [\"{registry}\"]\n");
    let folder = configured(&database, &topic, &framing);
    run(folder.path(), &["relay", "run", "--drain"]).ok();

    let client = SchemaRegistry::new(RegistryConfig::new(&registry)).unwrap();
    let subject = format!("{}-org.example.Renamed", topic.name);
    let id = client.latest(&subject).await.unwrap().unwrap().id;
    let framed = [&[0][..], &id.to_be_bytes(), &datum].concat();
    let published = topic.envelopes().await;
    let (avro, json): (Vec<_>, Vec<_>) =
        published.iter().partition(|event| event.event_type.name() == "thing.renamed");
    assert_eq!(json.len(), 1);
    assert_eq!(json[0].content_type, "application/json");
    let mut found: Vec<EventId> = avro.iter().map(|event| event.event_id).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for event in avro {
        assert_eq!(event.payload, framed);
        assert_eq!(event.content_type, "application/avro");
    }
    assert_eq!(database.backlog().await, 0);
    database.drop().await;
}

#[tokio::test]
async fn a_relay_publishes_to_rabbitmq_where_that_is_what_is_configured() {
    let Some(url) = server("RELAYBOX_RABBITMQ_URL") else { return };
    let case = SqliteCase::create().await;
    let ids = case.enqueue(&["s-1", "s-2", "s-1"]).await;
    let config = RabbitConfig::from_url(&url).unwrap();
    let name = format!("cli-{}", uuid::Uuid::new_v4().simple());
    let queue = RabbitQueue::new(name.clone()).unwrap().bind("session.#");
    let exchange = TopicName::new(name.clone()).unwrap();
    let topology = RabbitTopology::new().exchange(exchange).queue(queue.clone());
    topology.declare(&config).await.unwrap();
    let file = format!(
        "[store]\nurl = \"sqlite:outbox.db\"\n[rabbitmq]\nurl = \"{url}\"\nexchange = \"{name}\"\n"
    );
    std::fs::write(case.folder.path().join("relaybox.toml"), file).unwrap();
    let both = ["relay", "run", "--drain", "--brokers", "127.0.0.1:1"];
    assert!(case.run(&both).failed(2).contains("say which"));
    case.run(&["relay", "run", "--drain"]).ok();

    let source = RabbitSource::new(config.clone(), queue).unwrap();
    let mut published = Vec::new();
    while published.len() < ids.len() {
        let receiving = tokio::time::timeout(Duration::from_secs(60), source.receive());
        let Received::Batch { partition, deliveries } = receiving.await.unwrap().unwrap() else {
            continue;
        };
        let last = deliveries.last().unwrap().offset;
        source.acknowledge(&partition, last).await.unwrap();
        for delivery in deliveries {
            let id = delivery.headers().find(|(name, _)| *name == "ce_id").unwrap().1;
            published.push(std::str::from_utf8(id).unwrap().parse::<EventId>().unwrap());
        }
    }
    published.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(published, ids);
    source.close().await.unwrap();
    topology.delete(&config).await.unwrap();
}
