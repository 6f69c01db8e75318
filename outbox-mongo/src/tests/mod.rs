//! Tests: on a compatible server, against a scripted one, and on a replica set.

mod compat;
mod replica_set;
mod wire;

use mongodb::{
    Client, Database,
    bson::{Document, doc},
    options::ClientOptions,
};
use relaybox_core::{AggregateId, AggregateType, Envelope, EventId, EventType, Label, RelayId};

/// The address of a server from the environment, as `scripts/services up` prints it.
///
/// Without it the test is skipped with a loud line that `scripts/test` counts.
fn server(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        eprintln!("SKIPPED: {variable} is not set; see CONTRIBUTING.md");
    }
    address
}

/// A database of one's own, dropped in the end.
async fn own_database(url: &str) -> Database {
    let mut options = ClientOptions::parse(url).await.unwrap();
    options.server_selection_timeout = Some(std::time::Duration::from_secs(10));
    let client = Client::with_options(options).unwrap();
    client.database(&format!("relaybox_test_{}", EventId::new().as_uuid().simple()))
}

/// Drops it, if it is one of those.
async fn drop_database(database: &Database) {
    assert!(database.name().starts_with("relaybox_test_"));
    database.drop().await.unwrap();
}

fn event(aggregate: &'static str, name: &str) -> Envelope {
    Envelope::new(
        EventType::new("thing.changed", 1).unwrap(),
        AggregateType::new("thing").unwrap(),
        AggregateId::new(aggregate).unwrap(),
        name.as_bytes().to_vec(),
    )
}

fn relay() -> RelayId {
    RelayId::new(&Label::new("test").unwrap())
}

/// Makes a stored event one that is none.
async fn spoil(database: &Database, event: EventId) -> bool {
    let spoilt = doc! { "$set": { "event_name": "Not A Name" } };
    let id = doc! { "_id": crate::document::id(event) };
    let events = database.collection::<Document>("outbox_events");
    events.update_one(id, spoilt).await.unwrap().matched_count == 1
}
