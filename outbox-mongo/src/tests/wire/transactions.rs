//! Beginning, committing and aborting.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use mongodb::bson::{Document, Timestamp, doc};
use relaybox_core::{Error, ErrorKind, OutboxWriter, Retry, RetryPolicy};

use super::{super::event, *};
use crate::{MongoOutbox, MongoTx};

/// Changes a document and enqueues an event.
async fn work(outbox: &MongoOutbox, tx: &mut MongoTx) -> Result<(), Error> {
    let things = tx.client().database("test").collection::<Document>("things");
    let inserted = things.insert_one(doc! { "_id": "a" }).session(&mut **tx).await;
    tx.checked(inserted)?;
    outbox.write(tx, &[event("a", "1"), event("a", "2")]).await
}

#[tokio::test]
async fn both_inserts_are_in_one_transaction_and_the_commit_is_last() {
    let server = Server::obedient().await;
    let outbox = MongoOutbox::new(server.database().await);
    let mut tx = outbox.begin().await.unwrap();
    work(&outbox, &mut tx).await.unwrap();
    assert_eq!(server.names(), ["insert", "insert"], "nothing is committed yet");
    tx.commit().await.unwrap();

    let commands = server.commands();
    assert_eq!(server.names(), ["insert", "insert", "commitTransaction"]);
    assert_is_one_transaction(&commands);
    let concern = commands[0].get_document("readConcern").unwrap();
    assert_eq!(concern.get_str("level").unwrap(), "snapshot");
    assert!(commands[..2].iter().all(|insert| !insert.contains_key("writeConcern")));
    let concern = commands[2].get_document("writeConcern").unwrap();
    assert_eq!(concern.get_str("w").unwrap(), "majority");
    assert!(commands[2].contains_key("maxTimeMS"), "the commit has a limit");

    let events = commands[1].get_array("documents").unwrap();
    assert_eq!(events.len(), 2, "one statement");
    for event in events {
        let position = event.as_document().unwrap().get_timestamp("position").unwrap();
        assert_eq!(position, Timestamp { time: 0, increment: 0 }, "the server fills it in");
    }
}

#[tokio::test]
async fn a_commit_or_an_abort_that_nobody_waits_for_is_seen_through() {
    let server = Server::obedient().await;
    let outbox = MongoOutbox::new(server.database().await);
    for (ends, command) in [(true, "commitTransaction"), (false, "abortTransaction")] {
        let mut tx = outbox.begin().await.unwrap();
        work(&outbox, &mut tx).await.unwrap();
        // The driver has noted that it is over by then, and sent nothing.
        let pending = if ends {
            futures::poll!(Box::pin(tx.commit())).is_pending()
        } else {
            futures::poll!(Box::pin(tx.abort())).is_pending()
        };
        assert!(pending);
        server.asked(command, 1).await;
    }
}

#[tokio::test]
async fn a_transaction_that_is_dropped_or_aborted_is_rolled_back() {
    let server = Server::obedient().await;
    let outbox = MongoOutbox::new(server.database().await);
    for aborts in 1..=2 {
        let mut tx = outbox.begin().await.unwrap();
        work(&outbox, &mut tx).await.unwrap();
        if aborts == 1 {
            drop(tx);
        } else {
            tx.abort().await.unwrap();
        }
        server.asked("abortTransaction", aborts).await;
    }
    assert_is_one_transaction(&server.commands()[..3]);
    assert_is_one_transaction(&server.commands()[3..]);
    assert!(!server.names().contains(&"commitTransaction".to_owned()));
}

#[tokio::test]
async fn a_standalone_server_is_told_from_a_failing_one_by_a_service_that_only_writes() {
    let server = Server::start(|name, _| match name {
        "insert" => Answer::Says(doc! {
            "ok": 0.0, "code": 20, "codeName": "IllegalOperation",
            "errmsg": "Transaction numbers are only allowed on a replica set member or mongos",
        }),
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let mut tx = outbox.begin().await.unwrap();
    let error = outbox.write(&mut tx, &[event("a", "1")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("replica set"), "it says what to do: {error}");
}

/// The driver alone would believe that nothing had begun, and say nothing to the server.
#[tokio::test]
async fn a_transaction_whose_first_statement_was_given_up_on_is_rolled_back() {
    for (of_the_users_own, drops) in [(true, true), (false, true), (true, false), (false, false)] {
        let server = Server::start(|name, _| match name {
            "insert" => Answer::Hangs,
            _ => Answer::Done,
        })
        .await;
        let outbox = MongoOutbox::new(server.database().await);
        let mut tx = outbox.begin().await.unwrap();
        let limit = std::time::Duration::from_millis(100);
        if of_the_users_own {
            let things = tx.client().database("test").collection::<Document>("things");
            let insert = things.insert_one(doc! {}).session(&mut *tx);
            assert!(tokio::time::timeout(limit, insert.into_future()).await.is_err());
        } else {
            let events = [event("a", "1")];
            let insert = outbox.write(&mut tx, &events);
            assert!(tokio::time::timeout(limit, insert).await.is_err());
        }
        if drops {
            drop(tx);
        } else if of_the_users_own {
            tx.abort().await.unwrap();
        } else {
            let error = tx.commit().await.expect_err("nobody knows what became of it");
            assert!(error.to_string().contains("given up on"), "{error}");
        }
        server.asked("abortTransaction", 1).await;
        let commands = server.commands();
        let (first, last) = (&commands[0], commands.last().unwrap());
        assert_eq!(name(last), "abortTransaction");
        assert_eq!(last.get("lsid"), first.get("lsid"));
        assert_eq!(transaction(last), transaction(first));
    }
}

/// A unit's error may be of any type: the driver's own is found among its sources.
#[tokio::test]
async fn a_conflict_is_found_behind_a_units_own_error() {
    #[derive(Debug)]
    enum BookingError {
        Driver(mongodb::error::Error),
        Library(Error),
    }
    impl std::fmt::Display for BookingError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("could not book a room")
        }
    }
    impl std::error::Error for BookingError {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            match self {
                Self::Driver(error) => Some(error),
                Self::Library(error) => Some(error),
            }
        }
    }
    impl From<Error> for BookingError {
        fn from(error: Error) -> Self {
            Self::Library(error)
        }
    }
    for refusal in [
        || error(112, "WriteConflict", &[]),
        || error(999, "Unheard", &[TRANSIENT]),
        || write_error(112),
    ] {
        let mut refused = false;
        let server = Server::start(move |name, _| {
            let refuses = name == "insert" && !std::mem::replace(&mut refused, true);
            if refuses { refusal() } else { Answer::Done }
        })
        .await;
        let outbox = MongoOutbox::new(server.database().await);
        let unit = |mut tx: MongoTx| async move {
            let rooms = tx.client().database("test").collection::<Document>("rooms");
            let booked = rooms.insert_one(doc! {}).session(&mut *tx).await;
            booked.map_err(BookingError::Driver)?;
            Ok::<_, BookingError>((tx, ()))
        };
        outbox.transactions().run(unit).await.unwrap();
        let begun = server.names().iter().filter(|name| *name == "insert").count();
        assert_eq!(begun, 2);
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_sent_again_until_it_is_known() {
    let mut commits = 0;
    let server = Server::start(move |name, _| {
        commits += u32::from(name == "commitTransaction");
        match (name, commits) {
            ("commitTransaction", 1) => error(50, "MaxTimeMSExpired", &[UNKNOWN]),
            ("commitTransaction", 2 | 3) => Answer::Breaks,
            _ => Answer::Done,
        }
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let mut tx = outbox.begin().await.unwrap();
    work(&outbox, &mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let commands = server.commands();
    assert_is_one_transaction(&commands);
    assert_eq!(server.names()[2..], ["commitTransaction"; 4]);
}

#[tokio::test]
async fn a_commit_that_stays_unknown_ends_as_such_and_is_not_run_again() {
    let server = Server::start(|name, _| match name {
        "commitTransaction" => error(91, "ShutdownInProgress", &[UNKNOWN]),
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let runs = AtomicU32::new(0);
    let (writer, counted) = (&outbox, &runs);
    let unit = |mut tx: MongoTx| async move {
        counted.fetch_add(1, SeqCst);
        work(writer, &mut tx).await?;
        Ok::<_, Error>((tx, ()))
    };
    let error = outbox.transactions().run(unit).await.unwrap_err();
    assert_eq!(error.retry(), Retry::OutcomeUnknown);
    assert_eq!(runs.load(SeqCst), 1, "it may have been committed");
    let commits = server.names().iter().filter(|name| *name == "commitTransaction").count();
    assert!((2..=30).contains(&commits), "again, and not for ever: {commits}");
}

/// The whole unit is run again, whatever said that it conflicted, and wherever.
async fn is_run_again(refusal: fn() -> Answer, at: &'static str) {
    let mut refused = 0;
    let server = Server::start(move |name, _| {
        if name == at && refused < 2 {
            refused += 1;
            return refusal();
        }
        Answer::Done
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let runs = Arc::new(AtomicU32::new(0));
    let (writer, counted) = (outbox.clone(), Arc::clone(&runs));
    // In a task: the future must be Send.
    let transactions = outbox.transactions();
    let running = tokio::spawn(async move {
        let (writer, counted) = (&writer, &counted);
        transactions
            .run(|mut tx| async move {
                let run = counted.fetch_add(1, SeqCst) + 1;
                work(writer, &mut tx).await?;
                Ok::<_, Error>((tx, run))
            })
            .await
    });
    assert_eq!(running.await.unwrap().unwrap(), 3, "the value is of the run that was committed");
    assert_eq!(runs.load(SeqCst), 3);
    let commands = server.commands();
    let last = transaction(commands.last().unwrap()).unwrap();
    let begun = commands.iter().filter(|command| command.contains_key("startTransaction"));
    assert_eq!(begun.count(), 3, "each in a transaction of its own");
    let of_last = commands.iter().rev().filter(|command| name(command) != "abortTransaction");
    let of_last: Vec<_> = of_last.take(3).collect();
    assert!(of_last.iter().all(|command| transaction(command) == Some(last)), "{of_last:?}");
    if at != "commitTransaction" {
        let commits = server.names().iter().filter(|name| *name == "commitTransaction").count();
        assert_eq!(commits, 1, "what failed is never committed");
    }
}

#[tokio::test]
async fn a_unit_is_run_again_on_the_transient_label() {
    is_run_again(|| error(999, "Unheard", &[TRANSIENT]), "insert").await;
    is_run_again(|| error(251, "NoSuchTransaction", &[TRANSIENT]), "commitTransaction").await;
}

#[tokio::test]
async fn a_unit_is_run_again_on_a_conflict_that_has_no_label() {
    is_run_again(|| error(112, "WriteConflict", &[]), "insert").await;
    is_run_again(|| write_error(112), "insert").await;
    is_run_again(|| error(24, "LockTimeout", &[]), "insert").await;
    is_run_again(|| error(251, "NoSuchTransaction", &[]), "commitTransaction").await;
}

#[tokio::test]
async fn a_unit_is_run_again_when_the_connection_breaks_before_the_commit() {
    is_run_again(|| Answer::Breaks, "insert").await;
}

#[tokio::test]
async fn a_unit_that_conflicts_again_and_again_is_given_up() {
    let server = Server::start(|name, _| match name {
        "insert" => error(112, "WriteConflict", &[TRANSIENT]),
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let policy = RetryPolicy::default().base(std::time::Duration::ZERO).max_attempts(4);
    let writer = &outbox;
    let unit = |mut tx: MongoTx| async move {
        work(writer, &mut tx).await?;
        Ok::<_, Error>((tx, ()))
    };
    let error = outbox.transactions().retry(policy).run(unit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(server.names().iter().filter(|name| *name == "insert").count(), 4);
}

#[tokio::test]
async fn an_error_of_the_units_own_is_returned_at_once() {
    let server = Server::obedient().await;
    let outbox = MongoOutbox::new(server.database().await);
    let writer = &outbox;
    let unit = |mut tx: MongoTx| async move {
        work(writer, &mut tx).await?;
        Err::<(MongoTx, ()), _>(Error::new(ErrorKind::Rejected, "book a room"))
    };
    let error = outbox.transactions().run(unit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    server.asked("abortTransaction", 1).await;
    assert_eq!(server.names(), ["insert", "insert", "abortTransaction"]);
}

#[tokio::test]
async fn after_a_failed_statement_a_transaction_is_never_committed() {
    // 121: the server lets a transaction go on after some errors.
    for (refused, kind) in [(1, ErrorKind::Rejected), (2, ErrorKind::Rejected)] {
        let mut inserts = 0;
        let server = Server::start(move |name, _| {
            inserts += u32::from(name == "insert");
            if name == "insert" && inserts == refused { write_error(121) } else { Answer::Done }
        })
        .await;
        let outbox = MongoOutbox::new(server.database().await);
        let mut tx = outbox.begin().await.unwrap();
        // Somebody who swallows errors.
        assert!(work(&outbox, &mut tx).await.is_err());
        let error = tx.commit().await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(server.names().last().unwrap(), "abortTransaction");
        assert!(!server.names().contains(&"commitTransaction".to_owned()));
    }
}

#[tokio::test]
async fn an_error_shows_neither_keys_nor_addresses() {
    let server = Server::start(|name, _| match name {
        "insert" => write_error(11000),
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let mut tx = outbox.begin().await.unwrap();
    let error = outbox.write(&mut tx, &[event("a", "1")]).await.unwrap_err();
    let said = format!("{error:?} {}", relaybox_core::error_chain(&error));
    assert!(said.contains("11000") && !said.contains("secret"), "{said}");

    let url =
        "mongodb://user:password@127.0.0.1:1/?directConnection=true&serverSelectionTimeoutMS=200";
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    let outbox = MongoOutbox::new(client.database("test"));
    let error = relaybox_core::OutboxStore::stats(&outbox).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let said = format!("{error:?} {} {outbox:?}", relaybox_core::error_chain(&error));
    assert!(!said.contains("password") && !said.contains("127.0.0.1"), "{said}");
}
