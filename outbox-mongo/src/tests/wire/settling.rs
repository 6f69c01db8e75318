//! Settling under the lease.

use mongodb::bson::{Document, Timestamp, doc};
use relaybox_core::{
    ErrorKind, EventId, EventRef, GivenUp, Lease, Origin, OutboxStore, Published, Receipt, Settled,
    Settlement, TopicName,
};

use super::{
    super::{event, relay},
    *,
};
use crate::{MongoOutbox, document};

fn settlement(published: EventId, dead: EventId, parked: EventId) -> Settlement {
    let event = |id| EventRef::new(1, id, Origin::Outbox);
    let topic = TopicName::new("thing-events.v1").unwrap();
    let mut settlement = Settlement::default();
    settlement.published = vec![Published::new(event(published), topic, Receipt::unnumbered())];
    settlement.dead = vec![GivenUp::new(event(dead), ErrorKind::Rejected, "refused".into(), 3)];
    settlement.parked = vec![event(parked)];
    settlement
}

/// The document of an event that is in the outbox.
fn stored(name: &str) -> (EventId, Document) {
    let event = event("a", name);
    let mut stored = document::of_event(&event);
    stored.insert("position", Timestamp { time: 50, increment: 1 });
    (event.event_id, stored)
}

#[tokio::test]
async fn a_settlement_is_one_transaction_that_ends_with_the_lease() {
    let ((dead, dead_event), (parked, parked_event)) = (stored("dead"), stored("parked"));
    let server = Server::start(move |name, command| {
        let of_events = command.get_str(name).is_ok_and(|of| of == "outbox_events");
        let asks_for = |id| command.to_string().contains(&document::id(id).to_string());
        match name {
            "find" if of_events && asks_for(dead) => found(vec![dead_event.clone()]),
            "find" if of_events && asks_for(parked) => found(vec![parked_event.clone()]),
            "find" if of_lease(command) => found(vec![doc! { "_id": "lease" }]),
            _ => Answer::Done,
        }
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let lease = Lease::new(relay(), 3);
    let settlement = settlement(EventId::new(), dead, parked);
    let settled = outbox.settle(&lease, &settlement).await.unwrap();
    assert_eq!(settled, Settled::new(1, 1, 1));

    let commands = server.commands();
    assert_is_one_transaction(&commands);
    assert_eq!(name(commands.last().unwrap()), "commitTransaction");
    let held = doc! { "_id": "lease", "owner": lease.relay.as_str(), "epoch": 3_i64 };
    assert_eq!(commands[0].get_document("filter").unwrap(), &held);
    let last = &commands[commands.len() - 2];
    let last = last.get_array("updates").unwrap()[0].as_document().unwrap().clone();
    assert_eq!(last.get_document("q").unwrap(), &held, "a write, so that a takeover conflicts");
    let letters: Vec<_> = commands
        .iter()
        .filter(|command| name(command) == "insert")
        .flat_map(|insert| insert.get_array("documents").unwrap().clone())
        .map(|letter| letter.as_document().unwrap().clone())
        .collect();
    let states: Vec<_> =
        letters.iter().map(|letter| letter.get_str("state").unwrap().to_owned()).collect();
    assert_eq!(states, ["dead", "parked"]);
    for letter in &letters {
        let position = letter.get_timestamp("position").unwrap();
        assert_eq!(position, Timestamp { time: 50, increment: 1 }, "its place stays");
        let failed_at = letter.get_timestamp("failed_at").unwrap();
        assert_eq!(failed_at, Timestamp { time: 0, increment: 0 }, "the server fills it in");
    }
}

/// Whether a command is about the lease.
fn of_lease(command: &Document) -> bool {
    let filter = command.get_document("filter").ok().cloned();
    let update =
        || command.get_array("updates").ok()?.first()?.as_document()?.get_document("q").ok();
    filter
        .as_ref()
        .or_else(update)
        .is_some_and(|query| query.get_str("_id").is_ok_and(|id| id == "lease"))
}

#[tokio::test]
async fn a_settlement_under_a_lost_lease_changes_nothing_and_is_rolled_back() {
    // Lost before it began, or, as far as the snapshot knows, in the middle.
    for held in [vec![], vec![doc! { "_id": "lease" }]] {
        let early = held.is_empty();
        let server = Server::start(move |name, command| match name {
            "find" if of_lease(command) => found(held.clone()),
            "update" if of_lease(command) => {
                Answer::Says(doc! { "ok": 1.0, "n": 0, "nModified": 0 })
            }
            _ => Answer::Done,
        })
        .await;
        let outbox = MongoOutbox::new(server.database().await);
        let [one, two, three] = std::array::from_fn(|_| EventId::new());
        let settled = outbox.settle(&Lease::new(relay(), 3), &settlement(one, two, three)).await;
        assert_eq!(settled.unwrap_err().kind(), ErrorKind::LeaseLost);
        server.asked("abortTransaction", 1).await;
        let names = server.names();
        assert_eq!(early, names == ["find", "abortTransaction"], "{names:?}");
        assert!(!names.iter().any(|name| name == "commitTransaction"), "{names:?}");
    }
}

#[tokio::test]
async fn a_takeover_that_conflicts_with_a_settlement_makes_it_look_again() {
    let mut looks = 0;
    let server = Server::start(move |name, command| {
        looks += u32::from(name == "find" && of_lease(command));
        match (name, looks) {
            ("find", 1) if of_lease(command) => found(vec![doc! { "_id": "lease" }]),
            ("update", 1) if of_lease(command) => error(112, "WriteConflict", &[TRANSIENT]),
            _ => Answer::Done,
        }
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let [one, two, three] = std::array::from_fn(|_| EventId::new());
    let settled = outbox.settle(&Lease::new(relay(), 3), &settlement(one, two, three)).await;
    assert_eq!(settled.unwrap_err().kind(), ErrorKind::LeaseLost);
    let looks: Vec<_> = server
        .commands()
        .into_iter()
        .filter(|command| name(command) == "find" && of_lease(command))
        .collect();
    assert_eq!(looks.len(), 2);
    assert!(looks.iter().all(|look| look.contains_key("startTransaction")), "the whole again");
    assert!(!server.names().iter().any(|name| name == "commitTransaction"));
}
