//! An outbox on MongoDB.

use uuid::Uuid;

use crate::support::{SECRET, run};

#[test]
fn what_is_wrong_with_the_address_is_said_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let does = |url: &str| run(folder.path(), &["status", "--store", url]);
    let nameless = does(&format!("mongodb://u:{SECRET}@127.0.0.1:1")).failed(2);
    assert!(nameless.contains("names a database"), "{nameless}");
    does(&format!("mongodb://u:{SECRET}@:::/app")).failed(2);
    let away = format!("mongodb://u:{SECRET}@127.0.0.1:1/app?serverSelectionTimeoutMS=500");
    assert!(does(&away).failed(3).contains("can be reached"));
    let script = ["migrate", "--print", "--store", "mongodb://localhost/app"];
    assert!(run(folder.path(), &script).failed(2).contains("no script"));
    std::fs::write(folder.path().join("relaybox.toml"), "[store]\nschema = \"billing\"\n").unwrap();
    assert!(does("mongodb://localhost/app").failed(2).contains("store.schema"));
}

/// Needs a replica set, which no package registry has: see CONTRIBUTING.
#[test]
fn an_outbox_on_a_replica_set_is_migrated_and_looked_at() {
    let Some(url) = std::env::var("RELAYBOX_MONGODB_URL").ok().filter(|url| !url.is_empty()) else {
        eprintln!("SKIPPED: RELAYBOX_MONGODB_URL names no replica set; see CONTRIBUTING.md");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let name = format!("cli_{}", Uuid::new_v4().simple());
    let config = format!("[store]\nurl = \"{url}\"\ndatabase = \"{name}\"\narchive = true\n");
    std::fs::write(folder.path().join("relaybox.toml"), config).unwrap();
    let does = |arguments: &[&str]| run(folder.path(), arguments);
    for _ in 0..2 {
        assert!(does(&["migrate"]).ok().contains("mongodb outbox is up to date"));
    }
    let status = does(&["status", "--json"]).json();
    assert_eq!(
        (&status["store"]["kind"], &status["store"]["backlog"]),
        (&"mongodb".into(), &0.into())
    );
    assert_eq!(does(&["dead-letters", "list", "--json"]).json(), serde_json::json!([]));
    assert_eq!(does(&["dead-letters", "redrive", "--json"]).json()["flagged"], 0);
    let discard = ["dead-letters", "discard", "--successors", "release", "--yes", "--json"];
    assert_eq!(does(&discard).json()["discarded"], 0);
    assert_eq!(does(&["purge", "archive", "--older-than", "0s", "--json"]).json()["removed"], 0);
    let marks = ["purge", "marks", "--consumer", "c", "--older-than", "0s", "--json"];
    assert_eq!(does(&marks).json()["removed"], 0);
}
