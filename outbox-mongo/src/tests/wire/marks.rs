//! Marks that others make as well.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use relaybox_core::{ConsumerName, ErrorKind, EventId, Mark, ProcessedEventStore};

use super::*;
use crate::{MongoProcessedEvents, document};

const LIMIT: Duration = Duration::from_secs(30);

fn consumer() -> ConsumerName {
    ConsumerName::new("notifications").unwrap()
}

/// A mark as it is stored.
fn stored(event: EventId) -> Document {
    doc! { "_id": { "consumer": consumer().as_str(), "event": document::id(event) } }
}

#[tokio::test]
async fn marks_that_are_there_are_repeats_and_the_rest_is_inserted() {
    let [one, two, three] = std::array::from_fn(|_| EventId::new());
    let server = Server::start(move |name, _| match name {
        "find" => found(vec![stored(two)]),
        _ => Answer::Done,
    })
    .await;
    let inbox = MongoProcessedEvents::new(server.database().await);
    let mut tx = inbox.begin(LIMIT).await.unwrap();
    let marks = inbox.mark(&mut tx, &consumer(), &[three, one, two, one]).await.unwrap();
    assert_eq!(marks, [Mark::First, Mark::First, Mark::Repeat, Mark::Repeat]);
    inbox.commit(tx).await.unwrap();
    assert_eq!(server.names(), ["find", "insert", "commitTransaction"]);
    let commands = server.commands();
    assert_is_one_transaction(&commands);
    assert_eq!(commands[1].get_array("documents").unwrap().len(), 2);
}

/// Somebody else's mark is committed between the snapshot and the insert: a new snapshot tells.
async fn is_looked_at_again(refusal: fn() -> Answer) {
    let id = EventId::new();
    let (mut finds, mut inserts) = (0, 0);
    let server = Server::start(move |name, _| match name {
        "find" => {
            finds += 1;
            if finds == 4 { found(vec![stored(id)]) } else { Answer::Done }
        }
        "insert" => {
            inserts += 1;
            if inserts < 4 { refusal() } else { Answer::Done }
        }
        _ => Answer::Done,
    })
    .await;
    let inbox = MongoProcessedEvents::new(server.database().await);
    let mut tx = inbox.begin(LIMIT).await.unwrap();
    assert_eq!(inbox.mark(&mut tx, &consumer(), &[id]).await.unwrap(), [Mark::Repeat]);
    inbox.commit(tx).await.unwrap();
    let mut promised = ["find", "insert", "abortTransaction"].repeat(3);
    promised.extend(["find", "commitTransaction"]);
    assert_eq!(server.names(), promised);
    let commands = server.commands();
    assert_is_one_transaction(&commands[..3]);
    assert_is_one_transaction(&commands[9..]);
    assert_ne!(
        transaction(&commands[8]),
        transaction(&commands[9]),
        "what failed is not committed"
    );
}

#[tokio::test]
async fn a_mark_that_somebody_made_meanwhile_is_looked_at_again_with_a_new_snapshot() {
    is_looked_at_again(|| write_error(11000)).await;
    is_looked_at_again(|| error(112, "WriteConflict", &[])).await;
    is_looked_at_again(|| error(112, "WriteConflict", &[TRANSIENT])).await;
    is_looked_at_again(|| error(251, "NoSuchTransaction", &[TRANSIENT])).await;
}

#[tokio::test]
async fn a_mark_waits_no_longer_than_the_limit() {
    let server = Server::start(|name, _| match name {
        "insert" => error(112, "WriteConflict", &[TRANSIENT]),
        _ => Answer::Done,
    })
    .await;
    let inbox = MongoProcessedEvents::new(server.database().await);
    let mut tx = inbox.begin(Duration::from_secs(2)).await.unwrap();
    let error = inbox.mark(&mut tx, &consumer(), &[EventId::new()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.is_infrastructure(), "no attempt is charged for it");
    assert_eq!(inbox.commit(tx).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(server.names().iter().filter(|name| *name == "insert").count() > 1, "it waits");
    assert!(!server.names().contains(&"commitTransaction".to_owned()));
}

#[tokio::test]
async fn a_race_in_a_transaction_that_did_something_is_a_conflict_and_never_committed() {
    for refusal in [|| write_error(11000), || error(112, "WriteConflict", &[])] {
        let server = Server::start(move |name, command| match name {
            "insert" if command.get_str("insert").unwrap() == "processed_events" => refusal(),
            _ => Answer::Done,
        })
        .await;
        let database = server.database().await;
        let inbox = MongoProcessedEvents::new(database.clone());
        let mut tx = inbox.begin(LIMIT).await.unwrap();
        let effects = database.collection::<Document>("effects");
        effects.insert_one(doc! {}).session(&mut *tx).await.unwrap();
        let error = inbox.mark(&mut tx, &consumer(), &[EventId::new()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "never taken for success");
        assert!(inbox.commit(tx).await.is_err());
        assert_eq!(server.names(), ["insert", "find", "insert", "abortTransaction"]);
    }
}

#[tokio::test]
async fn a_race_behind_a_users_own_error_charges_no_attempt() {
    let inbox = MongoProcessedEvents::new(Server::obedient().await.database().await);
    let server = Server::start(|name, _| match name {
        "update" => error(112, "WriteConflict", &[TRANSIENT]),
        _ => Answer::Done,
    })
    .await;
    let users = server.database().await.collection::<Document>("users");
    let error = users.update_one(doc! {}, doc! { "$inc": { "n": 1 } }).await.unwrap_err();
    assert_eq!(inbox.classify(&error), Some(ErrorKind::Conflict));
}
