//! MongoDB.

use std::sync::Arc;

use mongodb::{Client, Database, bson::doc, options::ClientOptions};
use relaybox::{
    Error, ErrorKind, Result as CoreResult, async_trait,
    mongodb::{MongoMigrator, MongoOutbox, MongoProcessedEvents},
};

use super::{CONNECT, Migrator, Open, Store, bad_url};
use crate::{
    config::{StoreKind, StoreSection},
    error::CliError,
};

pub(super) async fn open(section: &StoreSection, url: &str, how: Open) -> Result<Store, CliError> {
    let collections = section.collections()?;
    let parsed = ClientOptions::parse(url).await;
    let mut options =
        parsed.map_err(|_| bad_url("mongodb://user:password@host:port/database?replicaSet=rs0"))?;
    options.server_selection_timeout.get_or_insert(CONNECT);
    options.app_name.get_or_insert_with(|| "relaybox".to_owned());
    let named = section.database.clone().or_else(|| options.default_database.clone());
    let name = named.ok_or_else(|| {
        CliError::Config("store.database: neither it nor the URL names a database".to_owned())
    })?;
    let client = Client::with_options(options)
        .map_err(|_| bad_url("mongodb://user:password@host:port/database?replicaSet=rs0"))?;
    let database = client.database(&name);
    if how != Open::Later {
        reach(&database).await?;
    }
    let outbox = MongoOutbox::with_collections(database.clone(), collections.clone());
    let inbox = MongoProcessedEvents::with_collections(database.clone(), collections.clone());
    Ok(Store {
        kind: StoreKind::MongoDb,
        outbox: Arc::new(if section.archive { outbox.archive_published() } else { outbox }),
        marks: Arc::new(inbox),
        migrator: Arc::new(MongoMigrator::new(database, collections)),
    })
}

/// Asks for a sign of life. The driver's own words name hosts only, but are as long as a page.
async fn reach(database: &Database) -> CoreResult<()> {
    use mongodb::error::ErrorKind as Kind;

    const OPERATION: &str = "connect to the database";
    let Err(error) = database.run_command(doc! { "ping": 1 }).await else { return Ok(()) };
    let (kind, detail) = match error.kind.as_ref() {
        Kind::Authentication { .. } => (ErrorKind::Authentication, "the server doesn't let us in"),
        Kind::Command(refused) => {
            let detail = format!("the server refuses: {} ({})", refused.code_name, refused.code);
            return Err(Error::new(ErrorKind::Other, OPERATION).detail(detail));
        }
        _ => (ErrorKind::Unavailable, "no server can be reached that we may work with"),
    };
    Err(Error::new(kind, OPERATION).detail(detail))
}

#[async_trait]
impl Migrator for MongoMigrator {
    async fn run(&self) -> CoreResult<()> {
        MongoMigrator::run(self).await
    }
}
