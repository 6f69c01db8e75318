//! The lease, by the server's clock.

use std::time::Duration;

use mongodb::bson::doc;
use relaybox_core::{Acquired, ErrorKind, Lease, OutboxStore};

use super::{super::relay, *};
use crate::MongoOutbox;

const TTL: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_lease_is_taken_by_one_statement_that_reads_the_servers_clock() {
    let server = Server::start(|name, _| match name {
        "findAndModify" => Answer::Says(doc! { "ok": 1.0, "value": { "epoch": 8_i64 } }),
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let relay = relay();
    let acquired = outbox.acquire(&relay, TTL).await.unwrap();
    assert_eq!(acquired, Acquired::Held(Lease::new(relay.clone(), 8)));
    assert_eq!(server.names(), ["findAndModify"]);
    let command = &server.commands()[0];
    let free = doc! { "_id": "lease", "$or": [
        { "until": null }, { "$expr": { "$lte": ["$until", "$$NOW"] } },
    ] };
    assert_eq!(command.get_document("query").unwrap(), &free);
    let update = command.get_array("update").unwrap()[0].as_document().unwrap();
    let set = doc! {
        "owner": { "$literal": relay.as_str() },
        "epoch": { "$add": ["$epoch", 1_i64] },
        "until": { "$add": ["$$NOW", 10_000_i64] },
    };
    assert_eq!(update.get_document("$set").unwrap(), &set);
    assert!(!command.contains_key("upsert"), "nobody else makes a lease, with an epoch of its own");
    let concern = command.get_document("writeConcern").unwrap();
    assert_eq!(concern.get_str("w").unwrap(), "majority", "a failover must not undo it");
}

#[tokio::test]
async fn a_lease_that_is_held_says_whose_it_is_and_for_how_long() {
    let server = Server::start(|name, _| match name {
        "aggregate" => found(vec![doc! { "owner": "other-1", "left": 2_500_i64 }]),
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let acquired = outbox.acquire(&relay(), TTL).await.unwrap();
    let Acquired::Elsewhere { holder, expires_in } = acquired else { panic!("{acquired:?}") };
    assert_eq!((holder.as_str(), expires_in), ("other-1", Duration::from_millis(2_500)));
}

#[tokio::test]
async fn a_lease_of_another_epoch_is_neither_renewed_nor_released() {
    let server = Server::start(|name, _| match name {
        "update" => Answer::Says(doc! { "ok": 1.0, "n": 0, "nModified": 0 }),
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let lease = Lease::new(relay(), 3);
    let lost = [outbox.renew(&lease, TTL).await, outbox.release(&lease).await];
    for lost in lost {
        assert_eq!(lost.unwrap_err().kind(), ErrorKind::LeaseLost);
    }
    for command in server.commands() {
        let update = command.get_array("updates").unwrap()[0].as_document().unwrap().clone();
        let held = doc! { "_id": "lease", "owner": lease.relay.as_str(), "epoch": 3_i64 };
        assert_eq!(update.get_document("q").unwrap(), &held);
    }
}
