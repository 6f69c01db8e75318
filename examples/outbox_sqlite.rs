//! The shortest outbox: users and their events in one SQLite file, published by a relay.
//!
//! `cargo run --example outbox_sqlite`. The broker is in memory, so that nothing else is needed;
//! `session_demo` has Kafka in its place.

use std::{error::Error, time::Duration};

use relaybox::{
    CancellationToken, DomainEvent, Outbox, OutboxStore, Relay, RetryPolicy, TopicName,
    memory::MemoryBus,
    sqlite::{SqliteMigrator, SqliteOutbox, Tables},
};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

#[derive(Debug, PartialEq, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "user", name = "user.registered", version = 1)]
struct UserRegistered {
    #[event(aggregate_id)]
    user_id: i64,
    name: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("users.sqlite"))
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await?;
    SqliteMigrator::new(pool.clone(), Tables::default()).run().await?;
    sqlx::query("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        .execute(&pool)
        .await?;

    let store = SqliteOutbox::new(pool.clone());
    let outbox = Outbox::new(store.clone());

    // One transaction: the user and the event, or neither.
    for (name, commit) in [("ada", true), ("mallory", false), ("grace", true)] {
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
        let user_id = sqlx::query("INSERT INTO users (name) VALUES ($1)")
            .bind(name)
            .execute(&mut *tx)
            .await?
            .last_insert_rowid();
        outbox.enqueue(&mut tx, &UserRegistered { user_id, name: name.to_owned() }).await?;
        if commit {
            tx.commit().await?;
        } else {
            tx.rollback().await?;
        }
    }
    assert_eq!(store.stats().await?.backlog, 2, "what was rolled back left no event");

    // The broker is away. The relay tries again and again, and the events stay where they are.
    let bus = MemoryBus::new();
    bus.set_available(false);
    let (failed, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let relay = Relay::builder(store.clone(), bus.clone())
        .retry(RetryPolicy::default().cap(Duration::from_millis(200)))
        .on_error(move |notice| drop(failed.send(notice.error.to_string())))
        .build();
    let shutdown = CancellationToken::new();
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    for _ in 0..2 {
        println!("not published: {}", failures.recv().await.ok_or("the relay ended")?);
    }
    assert_eq!(store.stats().await?.backlog, 2, "unsent events are kept");

    // It is back: what waited is published, in order, and its rows are removed.
    bus.set_available(true);
    let topic = TopicName::new("user-events.v1")?;
    let mut names = Vec::new();
    for record in bus.wait_for(&topic, 2).await {
        let event: UserRegistered = serde_json::from_slice(&record.envelope()?.payload)?;
        println!("published: {event:?}");
        names.push(event.name);
    }
    names.sort(); // they are two aggregates, in two partitions
    assert_eq!(names, ["ada", "grace"]);

    shutdown.cancel(); // it settles what is acknowledged before it ends
    relay.await??;
    assert_eq!(store.stats().await?.backlog, 0, "sent rows are removed");
    Ok(())
}
