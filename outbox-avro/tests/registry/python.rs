//! What we write, Confluent's client for Python reads, and the other way round.

use std::{path::Path, process::Stdio};

use relaybox_avro::{AvroCodec, RegistryFraming};
use relaybox_core::{
    Consumer, ConsumerName, EventId, Outbox, OutboxStore, Relay, TopicName, memory::MemoryStore,
};
use relaybox_kafka::{KafkaBus, KafkaConfig, KafkaSource};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::{
    Noted, SessionCreatedLater, codec, make_topics, notes, registry, running, servers, topics,
    unique_topic, until, v2, within,
};

/// What these tests need.
struct Servers {
    registry: String,
    brokers: String,
    python: String,
}

impl Servers {
    fn find() -> Option<Self> {
        let [registry, brokers, python] =
            servers(["RELAYBOX_REGISTRY_URL", "RELAYBOX_KAFKA_BROKERS", "RELAYBOX_PYTHON"])?;
        Some(Self { registry, brokers, python })
    }

    /// What interop.py prints, given this input.
    async fn run(&self, command: &str, topic: &TopicName, more: &[&str], input: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry/interop.py");
        let mut running = Command::new(&self.python)
            .arg(script)
            .args([command, &self.brokers, &self.registry, topic.as_str()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = running.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = within(running.wait_with_output()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn event(session_id: &str, device: Option<&str>) -> SessionCreatedLater {
    let (session_id, device) = (session_id.to_owned(), device.map(str::to_owned));
    SessionCreatedLater { session_id, user_id: 1 << 40, device }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_reads_what_we_write() {
    let Some(servers) = Servers::find() else { return };
    let (url, kafka) = (servers.registry.clone(), KafkaConfig::new(&servers.brokers));
    let topic = unique_topic();
    make_topics(&kafka, &[&topic]).await;
    let (store, codec) = (MemoryStore::new(), codec::<SessionCreatedLater>(&v2()));
    codec.store_schemas(&store).await.unwrap();
    let outbox = Outbox::builder(store.clone()).source("sessions").unwrap().codec(codec).build();
    let events = [event("s-1", Some("phone")), event("s-ü", None)];
    let mut tx = store.begin();
    let ids = outbox.enqueue_all(&mut tx, &events).await.unwrap();
    tx.commit();
    let relay = Relay::builder(store.clone(), KafkaBus::new(kafka).unwrap())
        .topics(topics(&[("session", &topic)]))
        .framing(RegistryFraming::new(registry(&url), store.clone()))
        .build();
    let relay = running(|shutdown| relay.run(shutdown));
    until(async || store.stats().await.unwrap().backlog == 0).await;
    relay.stop().await;

    let read = servers.run("read", &topic, &["2"], "").await;
    let read: Vec<Value> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), 2);
    for (read, (event, id)) in read.iter().zip(events.iter().zip(ids)) {
        assert_eq!(read["value"], serde_json::to_value(event).unwrap());
        assert_eq!(read["key"], event.session_id);
        let headers = &read["headers"];
        assert_eq!(headers["ce_id"], id.to_string());
        assert_eq!(headers["ce_type"], "session.created.v1");
        assert_eq!(headers["ce_source"], "sessions");
        assert_eq!(headers["content-type"], "application/avro");
    }
}

/// A consumer that notes sessions.
fn consumer(
    kafka: KafkaConfig,
    topic: &TopicName,
    codec: AvroCodec,
) -> (Consumer<KafkaSource, MemoryStore>, MemoryStore) {
    let inbox = MemoryStore::new();
    let group = ConsumerName::new(format!("g-{}", EventId::new())).unwrap();
    let source = KafkaSource::new(kafka, group, vec![topic.clone()]).unwrap();
    let consumer = Consumer::builder("notifications", source, inbox.clone())
        .codec(codec)
        .on_dead_letter(|notice| eprintln!("given up on: {}", notice.reason))
        .on::<SessionCreatedLater, _>(Noted)
        .build()
        .unwrap();
    (consumer, inbox)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_read_what_python_writes() {
    let Some(servers) = Servers::find() else { return };
    let (url, kafka) = (servers.registry.clone(), KafkaConfig::new(&servers.brokers));
    let topic = unique_topic();
    make_topics(&kafka, &[&topic]).await;
    let events = [event("s-1", Some("phone")), event("s-ü", None)];
    let input: Vec<_> = events
        .iter()
        .map(|event| {
            let line = json!({
                "schema": v2().text(),
                "key": event.session_id,
                "headers": {
                    "ce_specversion": "1.0",
                    "ce_id": EventId::new().to_string(),
                    "ce_type": "session.created.v1",
                    "ce_source": "python",
                    "ce_time": "2026-01-02T03:04:05Z",
                    "ce_aggregatetype": "session",
                    "ce_aggregateid": event.session_id,
                    "content-type": "application/avro",
                },
                "value": event,
            });
            line.to_string()
        })
        .collect();
    servers.run("write", &topic, &[], &input.join("\n")).await;

    let codec = AvroCodec::builder().schema_of::<SessionCreatedLater>(v2().text()).unwrap();
    let (consumer, inbox) = consumer(kafka, &topic, codec.registry(registry(&url)).build());
    let consumer = running(|shutdown| consumer.run(shutdown));
    until(async || notes(&inbox).len() == 2).await;
    consumer.stop().await;
    let mut expected: Vec<_> =
        events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    expected.sort();
    assert_eq!(notes(&inbox), expected);
    // It is registered under the subject that our relay would use.
    let subject = format!("{topic}-relaybox.tests.SessionCreated");
    assert!(registry(&url).lookup(&subject, &v2()).await.unwrap().is_some());
}
