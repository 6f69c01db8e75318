//! What consumers of a topic gave up on.

use bytes::Bytes;
use chrono::Utc;
use relaybox::{
    ConsumerName, Delivery, ErrorKind, EventId, EventSource, Failure, Partition, kafka::KafkaSource,
};
use relaybox_tests::{Topic, server};
use tempfile::TempDir;

use crate::support::{Ran, SECRET, run};

/// A topic with dead letters, whose name is the configuration's.
struct Case {
    folder: TempDir,
    topic: Topic,
    source: KafkaSource,
}

impl Case {
    async fn create() -> Option<Self> {
        let brokers = server("RELAYBOX_KAFKA_BROKERS")?;
        let topic = Topic::create(&brokers, &[]).await;
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[kafka]\nbrokers = \"{brokers}\"\n[[topics]]\nname = \"{}\"\npartitions = 3\n",
            topic.name
        );
        std::fs::write(folder.path().join("relaybox.toml"), config).unwrap();
        let source =
            KafkaSource::new(topic.config(), consumer(), vec![topic.name.clone()]).unwrap();
        Some(Self { folder, topic, source })
    }

    async fn give_up(&self, offset: i64, kind: ErrorKind, readable: bool) -> EventId {
        let id = EventId::new();
        let mut delivery = Delivery::new(Partition::new(self.topic.name.clone(), 0, 1), offset);
        delivery.key = Some(Bytes::from_static(b"s-1"));
        delivery.value = Some(Bytes::from_static(SECRET.as_bytes()));
        if readable {
            delivery.headers = vec![
                ("ce_id".into(), Bytes::from(id.to_string())),
                ("ce_type".into(), Bytes::from_static(b"session.created.v1")),
            ];
        }
        let failure = Failure::new(consumer(), kind, "it broke".to_owned(), 5, Utc::now());
        self.source.dead_letter(&delivery, &failure).await.unwrap();
        id
    }

    fn does(&self, what: &str, arguments: &[&str]) -> Ran {
        let topic = ["dead-letters", what, "--topic", self.topic.name.as_str()];
        run(self.folder.path(), &[&topic[..], arguments].concat())
    }

    /// The places and states of all letters.
    fn letters(&self) -> Vec<(String, String)> {
        let list = self.does("list", &["--all", "--json"]).json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let letters = list.as_array().unwrap().iter();
        letters.map(|letter| (text(&letter["at"]), text(&letter["state"]))).collect()
    }

    fn states(&self) -> Vec<String> {
        self.letters().into_iter().map(|(_, state)| state).collect()
    }
}

/// How many records are on the topic's partitions, which nobody else writes to.
async fn returned(case: &Case) -> i64 {
    case.topic.lags(&format!("count-{}", EventId::new())).await.iter().sum()
}

fn consumer() -> ConsumerName {
    ConsumerName::new("notifications").unwrap()
}

#[tokio::test]
async fn a_topics_dead_letters_are_listed_put_back_and_discarded() {
    let Some(case) = Case::create().await else { return };
    let first = case.give_up(0, ErrorKind::Timeout, true).await.to_string();
    let second = case.give_up(1, ErrorKind::Decode, true).await.to_string();
    case.give_up(2, ErrorKind::Decode, false).await;

    let table = case.does("list", &[]).ok();
    assert!(table.contains(&first) && table.contains("timeout: it broke"), "{table}");
    let one = case.does("list", &["--kind", "timeout", "--json"]).json();
    assert_eq!((one.as_array().unwrap().len(), &one[0]["event_id"]), (1, &first.clone().into()));
    let shown = case.does("show", &[&first]).ok();
    assert!(shown.contains("origin") && shown.contains("notifications"), "{shown}");

    let dry = case.does("redrive", &["--kind", "timeout", "--dry-run"]).ok();
    assert!(dry.contains("1 to put back"), "{dry}");
    assert_eq!(case.states(), ["open", "open", "open"]);
    assert_eq!(returned(&case).await, 0, "a dry run sends nothing");
    let done = case.does("redrive", &["--kind", "timeout", "--json"]).json();
    assert_eq!((&done["redriven"], &done["dry_run"]), (&1.into(), &false.into()));
    assert_eq!(case.states(), ["redriven", "open", "open"]);
    assert_eq!(returned(&case).await, 1);
    let again = case.does("redrive", &["--kind", "timeout"]).ok();
    assert!(again.contains("0 put back") && again.contains("1 put back before"), "{again}");

    let asked = case.does("discard", &["--event", &second]).failed(1);
    assert!(asked.contains("Discard 1 dead letters") && asked.contains("--yes"), "{asked}");
    assert_eq!(case.does("discard", &["-n", "--json"]).json()["discarded"], 2);
    assert_eq!(case.states(), ["redriven", "open", "open"]);
    assert_eq!(case.does("discard", &["--event", &second, "-y", "--json"]).json()["discarded"], 1);
    // One whose event can't be read is named by its place.
    let (place, _) = case.letters().remove(2);
    assert!(case.does("show", &["--at", &place]).ok().contains("(unreadable)"));
    let listed = |kind: &str| {
        let at = case.does("list", &["--at", &place, "--kind", kind, "--json"]).json();
        at.as_array().unwrap().len()
    };
    assert_eq!((listed("decode"), listed("timeout")), (1, 0));
    assert_eq!(case.does("discard", &["--at", &place, "-y", "--json"]).json()["discarded"], 1);
    assert_eq!(case.states(), ["redriven", "discarded", "discarded"]);
    assert_eq!(case.does("list", &["--json"]).json(), serde_json::json!([]));
    for wrong in [&["--aggregate", "session"][..], &["--at", "7"]] {
        case.does("redrive", wrong).failed(2);
    }
}

#[tokio::test]
async fn the_status_counts_what_waits_on_dead_letter_topics() {
    let Some(case) = Case::create().await else { return };
    case.give_up(0, ErrorKind::Timeout, true).await;
    case.give_up(1, ErrorKind::Timeout, true).await;
    case.does("redrive", &["--limit", "1"]).ok();
    let status = run(case.folder.path(), &["status", "--json"]).json();
    let topic = &status["dead_letter_topics"][0];
    assert_eq!(topic["topic"], case.topic.name.as_str());
    assert_eq!((&topic["open"], &topic["redriven"]), (&1.into(), &1.into()));
    assert!(topic["oldest_open"].is_string());
    run(case.folder.path(), &["status", "--max-dead-letters", "0"]).failed(1);
    run(case.folder.path(), &["status", "--brokers", "127.0.0.1:1"]).failed(3);
    // A database that can't be reached hides no topic.
    let down = ["status", "--json", "--store", "postgres://u:hunter2@127.0.0.1:1/app"];
    let seen = run(case.folder.path(), &down);
    let status: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!(status["store"], serde_json::Value::Null);
    assert_eq!(status["dead_letter_topics"][0]["open"], 1);
    assert!(seen.failed(3).contains("the server can't be reached"));
    let both = [&down[..], &["--brokers", "127.0.0.1:1"]].concat();
    let said = run(case.folder.path(), &both).failed(3);
    assert_eq!(said.matches("relaybox: ").count(), 2, "{said}");
}

#[tokio::test]
async fn a_topic_without_a_dead_letter_topic_is_said_to_have_none() {
    let Some(case) = Case::create().await else { return };
    let topic = ["dead-letters", "list", "--topic", "cli-no-such"];
    let said = run(case.folder.path(), &topic).failed(4);
    assert!(said.contains("cli-no-such"), "{said}");
    let brokers = case.topic.brokers();
    let config = format!("[kafka]\nbrokers = \"{brokers}\"\n[routes]\na = \"cli-no-such\"\n");
    std::fs::write(case.folder.path().join("relaybox.toml"), config).unwrap();
    let status = run(case.folder.path(), &["status"]).ok();
    assert!(status.contains("unknown"), "{status}");
    let checked = run(case.folder.path(), &["status", "--max-dead-letters", "5"]).failed(1);
    assert!(checked.contains("cli-no-such has is unknown"), "{checked}");
}
