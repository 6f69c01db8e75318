//! On mongo-java-server, which does one document at a time: no sessions, no pipelines in updates, no server's
//! time in inserts. `RELAYBOX_MONGODB_COMPAT_URL` names it.
//!
//! A transaction is stood in for by a buffer, and what the library does in one runs statement by statement
//! under a lock. So nothing here shows that transactions hold together; what the statements do is checked.

mod documents;
mod inbox;
mod store;

use mongodb::{
    Database,
    bson::{Document, Timestamp, doc},
};

use super::{own_database, server};
use crate::{Collections, MongoMigrator, position};

/// A database with the collections.
async fn create() -> Option<Database> {
    let database = own_database(&server("RELAYBOX_MONGODB_COMPAT_URL")?).await;
    MongoMigrator::new(database.clone(), Collections::default()).make().await.unwrap();
    Some(database)
}

/// Fills in the times that a server would have.
async fn fill_in(database: &Database, collection: &str, field: &str) {
    let time = u32::try_from(chrono::Utc::now().timestamp()).unwrap();
    let filled = doc! { "$set": { field: Timestamp { time, increment: 1 } } };
    let collection = database.collection::<Document>(collection);
    collection.update_many(doc! { field: position::NOW }, filled).await.unwrap();
}
