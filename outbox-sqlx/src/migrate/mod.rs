//! Migrations: the tables, and which versions of them a database has.
//!
//! The library keeps its own table for that (`relaybox_migrations`): sqlx's `_sqlx_migrations` is
//! yours.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use relaybox_core::{Error, ErrorKind, Result};

#[cfg(feature = "postgres")]
pub use self::postgres::PgMigrator;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteMigrator;

const RUN: &str = "migrate the database";

/// All tables but that of the migrations, as [templates](crate::template).
const TABLES: [&str; 8] = [
    "{outbox_events}",
    "{outbox_relay}",
    "{outbox_dead_letters}",
    "{outbox_archive}",
    "{outbox_schemas}",
    "{processed_events}",
    "{given_up_events}",
    "{consumer_starts}",
];

/// One step, which never changes once it was published: what follows is a new one.
struct Migration {
    version: i64,
    name: &'static str,
    /// A [template](crate::template).
    sql: &'static str,
}

/// The steps that a database at `version` lacks.
fn missing(migrations: &[Migration], version: i64) -> Result<&[Migration]> {
    let known = migrations.last().map_or(0, |last| last.version);
    if version > known {
        return Err(Error::new(ErrorKind::Schema, RUN).detail(format!(
            "the database has version {version}, this relaybox knows versions up to {known}; \
             update relaybox"
        )));
    }
    let applied = migrations.partition_point(|migration| migration.version <= version);
    Ok(&migrations[applied..])
}

/// Fails when tables are absent though the migrations were applied: those made others, most likely.
fn complete(absent: &[String]) -> Result<()> {
    if absent.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Schema, RUN).detail(format!(
        "the migrations were applied, but these tables are missing: {}; tables of other names need a \
         table of migrations of their own (Tables::migrations)",
        absent.join(", ")
    )))
}

/// All steps as one script, each followed by the note that it was applied.
fn script(create: &str, migrations: &[Migration]) -> String {
    let mut script = format!("{create};\n");
    for Migration { version, name, sql } in migrations {
        script.push_str(&format!(
            "\n-- {version}: {name}\n\n{sql}\nINSERT INTO {{migrations}} (version, name) \
             VALUES ({version}, '{name}');\n"
        ));
    }
    script
}
