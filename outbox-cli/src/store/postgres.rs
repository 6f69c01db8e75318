//! PostgreSQL.

use std::{str::FromStr, sync::Arc};

use relaybox::{
    Error, ErrorKind, Result as CoreResult, async_trait,
    postgres::{PgMigrator, PgOutbox, PgProcessedEvents},
};
use sqlx::{
    ConnectOptions, Connection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{CONNECT, Migrator, Open, Store, bad_url};
use crate::{
    config::{StoreKind, StoreSection},
    error::CliError,
};

/// A relay's three connections, one to spare, and its reader's.
const CONNECTIONS: u32 = 5;

pub(super) async fn open(section: &StoreSection, url: &str, how: Open) -> Result<Store, CliError> {
    let tables = section.tables()?;
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| bad_url("postgres://user:password@host:port/database"))?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("relaybox"),
    };
    if how != Open::Later {
        reach(&options).await?;
    }
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT)
        .connect_lazy_with(options);
    let outbox = PgOutbox::with_tables(pool.clone(), tables.clone());
    Ok(Store {
        kind: StoreKind::Postgres,
        outbox: Arc::new(if section.archive { outbox.archive_published() } else { outbox }),
        marks: Arc::new(PgProcessedEvents::with_tables(pool.clone(), tables.clone())),
        migrator: Arc::new(PgMigrator::new(pool, tables)),
    })
}

/// Connects once: the pool would try again and again, and then say only that it took too long.
async fn reach(options: &PgConnectOptions) -> CoreResult<()> {
    const OPERATION: &str = "connect to the database";
    let connection = match tokio::time::timeout(CONNECT, options.connect()).await {
        Ok(connected) => connected,
        Err(_) => {
            return Err(Error::new(ErrorKind::Timeout, OPERATION)
                .detail(format!("it took longer than {CONNECT:?}")));
        }
    };
    let error = match connection {
        Ok(connection) => {
            // It has served its purpose, however it ends.
            let _ = connection.close().await;
            return Ok(());
        }
        Err(error) => error,
    };
    let code = error.as_database_error().and_then(|error| error.code());
    let kind = match (&error, code.as_deref()) {
        (sqlx::Error::Io(_), _) | (_, Some("57P03" | "53300")) => ErrorKind::Unavailable,
        (sqlx::Error::Tls(_), _) => ErrorKind::Authentication,
        (_, Some(code)) if code.starts_with("28") => ErrorKind::Authentication,
        _ => ErrorKind::Other,
    };
    let detail = match kind {
        ErrorKind::Unavailable => "the server can't be reached",
        ErrorKind::Authentication => "the server and we don't let each other in",
        _ => "the server refuses",
    };
    Err(Error::new(kind, OPERATION).detail(detail).caused_by(error))
}

#[async_trait]
impl Migrator for PgMigrator {
    async fn run(&self) -> CoreResult<()> {
        PgMigrator::run(self).await
    }
}
