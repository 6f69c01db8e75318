//! MongoDB: a database of its own for each run, on the replica set that the URL names.

use mongodb::{
    Client, IndexModel,
    bson::{Binary, Bson, Document, doc, spec::BinarySubtype},
    options::ClientOptions,
};
use relaybox::{
    async_trait,
    mongodb::{Collections, MongoMigrator, MongoOutbox, MongoProcessedEvents, MongoTx},
};
use uuid::Uuid;

use super::{Database, Result};
use crate::error::DemoError;

#[derive(Clone)]
pub(crate) struct MongoDatabase {
    database: mongodb::Database,
}

impl MongoDatabase {
    /// Makes the database of this run, with its collections: a transaction is no place for that.
    pub(crate) async fn create(url: &str, run: &str) -> std::result::Result<Self, DemoError> {
        let mut options = ClientOptions::parse(url).await?;
        let name = format!("relaybox_demo_{run}");
        // By it a transaction's client knows the database again.
        options.default_database = Some(name.clone());
        let database = Client::with_options(options)?.database(&name);
        let database = Self { database };
        match database.create_collections().await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.remove().await?;
                Err(error)
            }
        }
    }

    /// Drops the database of this run, which nobody else has made or would know the name of.
    pub(crate) async fn remove(self) -> Result<()> {
        Ok(self.database.drop().await?)
    }

    pub(crate) fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        self.database.collection(name)
    }

    async fn create_collections(&self) -> std::result::Result<(), DemoError> {
        MongoMigrator::new(self.database.clone(), Collections::default()).run().await?;
        for name in ["sessions", "session_views", "effects"] {
            self.database.create_collection(name).await?;
        }
        let by_user = IndexModel::builder().keys(doc! { "user_id": 1 }).build();
        self.collection("sessions").create_index(by_user).await?;
        Ok(())
    }
}

#[async_trait]
impl Database for MongoDatabase {
    type Tx = MongoTx;
    type Outbox = MongoOutbox;
    type Inbox = MongoProcessedEvents;

    fn outbox(&self) -> MongoOutbox {
        MongoOutbox::new(self.database.clone())
    }

    fn inbox(&self) -> MongoProcessedEvents {
        MongoProcessedEvents::new(self.database.clone())
    }

    async fn begin(&self) -> Result<MongoTx> {
        Ok(self.outbox().begin().await?)
    }

    async fn commit(tx: MongoTx) -> Result<()> {
        Ok(tx.commit().await?)
    }

    async fn ping(&self) -> Result<()> {
        self.database.run_command(doc! { "ping": 1 }).await?;
        Ok(())
    }
}

/// A collection of the database in which a transaction is.
pub(crate) fn collection_of(tx: &MongoTx, name: &str) -> mongodb::Collection<Document> {
    tx.client().default_database().expect("create names it").collection(name)
}

/// An id as documents have it.
pub(crate) fn id(id: Uuid) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: id.as_bytes().to_vec() })
}

/// The id in a field that `id` wrote.
pub(crate) fn read_id(document: &Document, field: &str) -> Option<Uuid> {
    match document.get(field) {
        Some(Bson::Binary(binary)) => Uuid::from_slice(&binary.bytes).ok(),
        _ => None,
    }
}
