//! The deployment: whether it has transactions, and what time it is there.

use chrono::{DateTime, Utc};
use mongodb::{
    Database,
    bson::{Document, doc},
};
use relaybox_core::{Error, ErrorKind, Result};

use crate::error;

/// What to do about a server that has no transactions.
pub(crate) const WANTED: &str = "the server is no member of a replica set and no mongos, so it has no \
     transactions, and an event would not commit together with the change it tells of; start mongod with \
     --replSet and run rs.initiate() once (a set of one member will do), or connect to one that is";

/// MongoDB 5.0: the first with snapshot reads outside of transactions.
const MIN_WIRE_VERSION: i32 = 13;

/// Refuses a server that can't do what the outbox promises.
pub(crate) async fn check(database: &Database, operation: &'static str) -> Result<()> {
    let hello = hello(database, operation).await?;
    let invalid =
        |detail: &'static str| Err(Error::new(ErrorKind::Invalid, operation).detail(detail));
    let routes = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    if !routes && !hello.contains_key("setName") {
        return invalid(WANTED);
    }
    if hello.get_i32("maxWireVersion").unwrap_or(0) < MIN_WIRE_VERSION {
        return invalid(
            "the server is older than MongoDB 5.0, which is the oldest that can be used",
        );
    }
    Ok(())
}

/// The server's time, in milliseconds.
///
/// Whoever compares with it a moment later takes everything for younger than it is, never for older.
pub(crate) async fn now(database: &Database, operation: &'static str) -> Result<DateTime<Utc>> {
    let hello = hello(database, operation).await?;
    let time = hello.get_datetime("localTime").ok().and_then(|now| time(*now));
    time.ok_or_else(|| {
        Error::new(ErrorKind::Other, operation).detail("the server doesn't say what time it is")
    })
}

/// A date, in milliseconds.
pub(crate) fn time(at: mongodb::bson::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(at.timestamp_millis())
}

async fn hello(database: &Database, operation: &'static str) -> Result<Document> {
    let admin = database.client().database("admin");
    let hello = match admin.run_command(doc! { "hello": 1 }).await {
        // Some compatible servers know it by its old name only.
        Err(error) if error::is_unknown_command(&error) => {
            admin.run_command(doc! { "isMaster": 1 }).await
        }
        hello => hello,
    };
    hello.map_err(error::database(operation))
}
