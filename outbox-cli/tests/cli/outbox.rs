//! Everything that an outbox alone can show, on SQLite.

use std::time::Duration;

use relaybox::{ConsumerName, EventId, Mark, ProcessedEventStore};
use serde_json::Value;

use crate::support::{SECRET, SqliteCase, command, ran};

/// The list, with its states by event.
fn states(case: &SqliteCase) -> Vec<(EventId, String)> {
    let list = case.run(&["dead-letters", "list", "--json", "--limit", "1000"]).json();
    let state = |letter: &Value| {
        let id = letter["event_id"].as_str().unwrap().parse().unwrap();
        (id, letter["state"].as_str().unwrap().to_owned())
    };
    list.as_array().unwrap().iter().map(state).collect()
}

fn of(states: &[(EventId, String)], ids: &[EventId]) -> Vec<String> {
    let state = |id: &EventId| states.iter().find(|(other, _)| other == id);
    ids.iter().map(|id| state(id).map_or("gone", |(_, state)| state).to_owned()).collect()
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_its_script_needs_no_database() {
    let case = SqliteCase::create().await;
    assert!(case.run(&["migrate"]).ok().contains("up to date"));
    let script = case.run(&["migrate", "--print", "--store", "sqlite:"]).ok();
    assert!(script.contains("CREATE TABLE \"outbox_events\""), "{script}");
    let script = case.run(&["migrate", "--print", "--store", "postgres:"]).ok();
    assert!(script.contains("GENERATED ALWAYS AS IDENTITY"), "{script}");
}

#[tokio::test]
async fn the_status_says_what_waits_and_what_was_given_up_on() {
    let case = SqliteCase::create().await;
    case.enqueue(&["s-1", "s-1", "s-2"]).await;
    case.give_up().await;
    case.enqueue(&["s-3"]).await;
    let status = case.run(&["status", "--json"]).json();
    let store = &status["store"];
    assert_eq!(store["kind"], "sqlite");
    assert_eq!(
        (&store["backlog"], &store["dead_letters"], &store["parked"]),
        (&1.into(), &2.into(), &1.into())
    );
    assert!(store["oldest_age_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(store["relay"], Value::Null);
    let table = case.run(&["status"]).ok();
    assert!(table.contains("dead letters") && table.contains("nobody"), "{table}");
    case.run(&["status", "--max-dead-letters", "2", "--max-age", "1h"]).ok();
    let worse = case.run(&["status", "--max-dead-letters", "1"]).failed(1);
    assert!(worse.contains("2 dead letters"), "{worse}");
    let worse = case.run(&["status", "--max-age", "0s"]).failed(1);
    assert!(worse.contains("has been waiting"), "{worse}");
}

#[tokio::test]
async fn dead_letters_are_listed_by_what_is_asked_for_and_never_with_their_payload() {
    let case = SqliteCase::create().await;
    let ids = case.enqueue(&["s-1", "s-1", "s-2"]).await;
    case.give_up().await;
    assert_eq!(of(&states(&case), &ids), ["dead", "parked", "dead"]);
    let count = |arguments: &[&str]| {
        let all = [&["dead-letters", "list", "--json"], arguments].concat();
        case.run(&all).json().as_array().unwrap().len()
    };
    assert_eq!(count(&["--aggregate", "session/s-1"]), 2);
    assert_eq!(count(&["--aggregate", "session"]), 3);
    assert_eq!(count(&["--aggregate", "cart"]), 0);
    assert_eq!(count(&["--event-type", "session.created"]), 3);
    assert_eq!(count(&["--event-type", "session.created.v1"]), 3);
    assert_eq!(count(&["--event-type", "session.created.v2"]), 0);
    assert_eq!(count(&["--error", "said no"]), 2);
    assert_eq!(count(&["--since", "1h"]), 3);
    assert_eq!(count(&["--until", "1h"]), 0);
    assert_eq!(count(&["--limit", "1"]), 1);
    assert_eq!(count(&["--event", &ids[2].to_string()]), 1);
    let table = case.run(&["dead-letters", "list"]).ok();
    assert!(table.contains("session/s-1") && table.contains("the broker said no"), "{table}");
    let refused = case.run(&["dead-letters", "list", "--kind", "timeout"]).failed(2);
    assert!(refused.contains("--topic or --queue"), "{refused}");
}

#[tokio::test]
async fn a_payload_is_shown_only_when_asked_for_and_only_its_beginning() {
    let case = SqliteCase::create().await;
    let ids = case.enqueue(&["s-1"]).await;
    case.give_up().await;
    let id = ids[0].to_string();
    let shown = case.run(&["dead-letters", "show", &id]).ok();
    assert!(shown.contains("session.created.v1") && shown.contains("application/json"), "{shown}");
    let show = |arguments: &[&str]| {
        let mut command = command(case.folder.path());
        let output = command.args(["dead-letters", "show", &id]).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(show(&["--payload"]).contains(SECRET));
    let json: Value = serde_json::from_str(&show(&["--payload", "--json"])).unwrap();
    assert!(json[0]["payload"]["text"].as_str().unwrap().contains(SECRET));
    assert_eq!(json[0]["payload"]["truncated"], false);
    let cut = show(&["--payload", "--max-bytes", "4"]);
    assert!(cut.contains("{\"pa") && !cut.contains(SECRET), "{cut}");
    let unknown = case.run(&["dead-letters", "show", &EventId::new().to_string()]).failed(1);
    assert!(unknown.contains("no such dead letter"), "{unknown}");
}

#[tokio::test]
async fn a_redrive_flags_an_event_with_those_before_it_and_a_dry_run_nothing() {
    let case = SqliteCase::create().await;
    let ids = case.enqueue(&["s-1", "s-1", "s-2"]).await;
    case.give_up().await;
    let before = states(&case);
    let dry = |arguments: &[&str]| {
        let all = [&["dead-letters", "redrive", "--dry-run", "--json"], arguments].concat();
        let flagged = case.run(&all).json()["flagged"].as_u64().unwrap();
        assert_eq!(states(&case), before);
        flagged
    };
    // The parked one is behind the dead one of its aggregate.
    assert_eq!(dry(&["--event", &ids[1].to_string()]), 1);
    assert_eq!(dry(&[]), 2);
    assert_eq!(dry(&["--limit", "1"]), 1);
    assert_eq!(dry(&["--until", "1h"]), 0);
    case.run(&["dead-letters", "redrive", "--until", "1h"]).ok();
    assert_eq!(states(&case), before);
    let done = case.run(&["dead-letters", "redrive", "--event", &ids[1].to_string()]).ok();
    assert!(done.contains("1 flagged"), "{done}");
    assert_eq!(of(&states(&case), &ids), ["redriving", "parked", "dead"]);
    let done = case.run(&["dead-letters", "redrive", "--error", "said no", "--json"]).json();
    assert_eq!(done["flagged"], 1);
    assert_eq!(of(&states(&case), &ids), ["redriving", "parked", "redriving"]);
}

#[tokio::test]
async fn a_discard_says_what_becomes_of_successors_and_asks_before() {
    let case = SqliteCase::create().await;
    let ids = case.enqueue(&["s-1", "s-1", "s-2", "s-2", "s-3"]).await;
    case.give_up().await;
    let before = states(&case);
    let discard =
        |arguments: &[&str]| case.run(&[&["dead-letters", "discard"], arguments].concat());
    let first = ids[0].to_string();
    let missing = discard(&["--event", &first, "--yes"]).failed(2);
    assert!(missing.contains("--successors"), "{missing}");
    let asked = discard(&["--event", &first, "--successors", "discard"]).failed(1);
    assert!(asked.contains("Discard 2 events") && asked.contains("--yes"), "{asked}");
    let dry = discard(&["--event", &first, "--successors", "discard", "-n", "--json"]).json();
    assert_eq!(dry["discarded"], 2);
    let dry = discard(&["--successors", "release", "--error", "said no", "-n", "--json"]).json();
    assert_eq!(dry["discarded"], 3);
    assert_eq!(states(&case), before);
    let done = discard(&["--event", &first, "--successors", "discard", "--yes", "--json"]).json();
    assert_eq!(done["discarded"], 2);
    assert_eq!(of(&states(&case), &ids), ["gone", "gone", "dead", "parked", "dead"]);
    // By what the store can't select by.
    let done =
        discard(&["--error", "said no", "--limit", "1", "--successors", "release", "-y"]).ok();
    assert!(done.contains("1 discarded"), "{done}");
    assert_eq!(of(&states(&case), &ids)[2..], ["gone", "parked", "dead"]);
}

#[tokio::test]
async fn a_dry_run_shows_the_first_and_says_how_many_others_there_are() {
    let case = SqliteCase::create().await;
    case.enqueue(&["s-1"; 25]).await;
    case.give_up().await;
    let dry = ["dead-letters", "discard", "--successors", "discard", "--dry-run"];
    let said = case.run(&dry).ok();
    assert!(said.contains("and 5 more") && said.contains("25 would be discarded"), "{said}");
}

#[tokio::test]
async fn more_letters_than_are_looked_through_are_no_reason_to_refuse() {
    let case = SqliteCase::create().await;
    case.enqueue(&["s-1"]).await;
    case.give_up().await;
    case.copy_letters(10_001).await;
    let does = |what: &str, arguments: &[&str]| {
        case.run(&[&["dead-letters", what, "--json"], arguments].concat()).json()
    };
    for (filter, flagged) in [(&[][..], 0), (&["--error", "said no"], 5)] {
        let with = |arguments: &[&'static str]| [filter, arguments].concat();
        assert_eq!(does("list", &with(&["--limit", "1"])).as_array().unwrap().len(), 1);
        let dry = does("redrive", &with(&["--limit", "5", "--dry-run"]));
        assert_eq!((&dry["flagged"], &dry["complete"]), (&5.into(), &true.into()));
        let dry = does("redrive", &with(&["--dry-run"]));
        assert_eq!(
            (&dry["flagged"], &dry["complete"]),
            (&(10_000 - flagged).into(), &false.into())
        );
        let asked = ["dead-letters", "discard", "--successors", "release", "--limit", "5"];
        let asked = case.run(&[&asked[..], filter].concat()).failed(1);
        assert!(asked.contains("Discard 5 events"), "{asked}");
        assert_eq!(does("redrive", &with(&["--limit", "5"]))["flagged"], 5);
    }
    let none = case.run(&["dead-letters", "redrive", "--error", "another"]).ok();
    assert!(none.contains("0 flagged") && none.contains("the first 10000"), "{none}");
}

#[tokio::test]
async fn a_purge_removes_old_marks_in_batches_and_no_young_ones() {
    let case = SqliteCase::create().await;
    let (inbox, consumer) = (case.inbox(), ConsumerName::new("notifications").unwrap());
    let events: Vec<_> = (0..25).map(|_| EventId::new()).collect();
    let mut tx = inbox.begin(Duration::from_secs(5)).await.unwrap();
    inbox.mark(&mut tx, &consumer, &events).await.unwrap();
    inbox.commit(tx).await.unwrap();
    let purge = |age: &str, consumer: &str| {
        let marks = ["purge", "marks", "--consumer", consumer, "--older-than", age];
        case.run(&[&marks[..], &["--batch", "10", "--json"]].concat()).json()["removed"].clone()
    };
    assert_eq!(purge("1d", "notifications"), 0);
    assert_eq!(purge("0s", "another"), 0);
    assert_eq!(purge("0s", "notifications"), 25);
    let known = inbox.known(&consumer, &events).await.unwrap();
    assert!(known.iter().all(|mark| *mark == Mark::First));
}

#[tokio::test]
async fn output_that_nobody_reads_is_no_error() {
    let case = SqliteCase::create().await;
    let mut child = command(case.folder.path())
        .args(["migrate", "--print"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(ran(&output).err, "");
}
