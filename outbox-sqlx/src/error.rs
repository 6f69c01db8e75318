//! What the databases' errors mean: classified here, once.

use std::{error::Error as StdError, fmt};

use relaybox_core::{Error, ErrorKind, Retry};

/// Turns the driver's error into the library's.
pub(crate) fn database(operation: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |source| {
        let kind = classify(&source);
        Error::new(kind, operation).detail(advice(kind)).caused_by(DriverError(source))
    }
}

/// The same for a commit: when the connection broke, nobody knows whether it took effect.
pub(crate) fn commit(operation: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |source| {
        let error = database(operation)(source);
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => error.with_retry(Retry::OutcomeUnknown),
            _ => error,
        }
    }
}

/// Finds a failure of the surroundings among an error and its sources.
pub(crate) fn infrastructure(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = if let Some(error) = error.downcast_ref::<sqlx::Error>() {
            Some(classify(error))
        } else {
            error.downcast_ref::<Error>().map(Error::kind)
        };
        if let Some(kind) = kind.filter(|kind| Error::new(*kind, "").is_infrastructure()) {
            return Some(kind);
        }
        next = error.source();
    }
    None
}

/// Postgres refuses NUL in texts; a reason with one must not keep an event from being given up on.
pub(crate) fn storable(reason: &str) -> String {
    reason.replace('\0', "")
}

/// The driver's own error, as the source of the library's.
///
/// The `Debug` of a database's error shows the failing row, so this shows the message alone.
struct DriverError(sqlx::Error);

impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("sqlx::Error").field(&self.0.to_string()).finish()
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for DriverError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

fn classify(error: &sqlx::Error) -> ErrorKind {
    use sqlx::Error as E;
    match error {
        E::Database(error) => classify_database(&**error),
        E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => {
            ErrorKind::Unavailable
        }
        E::Tls(_) => ErrorKind::Authentication,
        E::Configuration(_) => ErrorKind::Invalid,
        E::RowNotFound
        | E::TypeNotFound { .. }
        | E::ColumnIndexOutOfBounds { .. }
        | E::ColumnNotFound(_)
        | E::ColumnDecode { .. }
        | E::Decode(_) => ErrorKind::Schema,
        _ => ErrorKind::Other,
    }
}

fn classify_database(error: &dyn sqlx::error::DatabaseError) -> ErrorKind {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return classify_sqlstate(error.code());
    }
    #[cfg(feature = "sqlite")]
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        let code = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
        return classify_sqlite(code, error.message());
    }
    let _ = error;
    ErrorKind::Other
}

/// See the PostgreSQL manual, appendix A.
#[cfg(feature = "postgres")]
fn classify_sqlstate(code: &str) -> ErrorKind {
    match code {
        "40001" | "40P01" | "55P03" | "55006" => ErrorKind::Conflict,
        "57014" | "25P03" | "25P04" => ErrorKind::Timeout,
        // A role without the right is refused just as one with a wrong password.
        "42501" => ErrorKind::Authentication,
        "3F000" => ErrorKind::Schema,
        "3D000" => ErrorKind::Invalid,
        // After a failover, connections to what is a standby now.
        "25006" => ErrorKind::Unavailable,
        _ => match &code[..code.len().min(2)] {
            "08" | "53" | "57" | "58" => ErrorKind::Unavailable,
            "28" => ErrorKind::Authentication,
            "40" => ErrorKind::Conflict,
            "42" => ErrorKind::Schema,
            "22" | "23" => ErrorKind::Rejected,
            _ => ErrorKind::Other,
        },
    }
}

/// See <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
#[cfg(feature = "sqlite")]
fn classify_sqlite(code: i32, message: &str) -> ErrorKind {
    match code & 0xff {
        1 if message.contains("no such table") || message.contains("no such column") => {
            ErrorKind::Schema
        }
        // BUSY, LOCKED.
        5 | 6 => ErrorKind::Conflict,
        // NOMEM, IOERR, FULL, CANTOPEN, PROTOCOL.
        7 | 10 | 13 | 14 | 15 => ErrorKind::Unavailable,
        // INTERRUPT.
        9 => ErrorKind::Timeout,
        // PERM, READONLY, AUTH.
        3 | 8 | 23 => ErrorKind::Authentication,
        // TOOBIG, CONSTRAINT, MISMATCH.
        18..=20 => ErrorKind::Rejected,
        _ => ErrorKind::Other,
    }
}

/// What to do about it, where that is not plain from the source.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Schema => {
            "the tables are missing or not as the migrations make them; run the migrations, and check \
             the table names and the search path"
        }
        ErrorKind::Authentication => "the database refuses this user, or lets it not do this",
        ErrorKind::Unavailable => "the database can't be reached or is not able to work",
        ErrorKind::Conflict => "the database is busy with something that conflicts",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn a_sqlstate_says_what_to_do() {
        for (code, kind) in [
            ("40001", ErrorKind::Conflict),
            ("40P01", ErrorKind::Conflict),
            ("55P03", ErrorKind::Conflict),
            ("57014", ErrorKind::Timeout),
            ("57P01", ErrorKind::Unavailable),
            ("08006", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("28P01", ErrorKind::Authentication),
            ("42501", ErrorKind::Authentication),
            ("42P01", ErrorKind::Schema),
            ("42601", ErrorKind::Schema),
            ("23514", ErrorKind::Rejected),
            ("XX000", ErrorKind::Other),
            ("", ErrorKind::Other),
        ] {
            assert_eq!(classify_sqlstate(code), kind, "{code}");
        }
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn an_extended_result_code_counts_as_its_primary_one() {
        assert_eq!(classify_sqlite(517, "database is locked"), ErrorKind::Conflict);
        assert_eq!(classify_sqlite(1, "no such table: outbox_events"), ErrorKind::Schema);
        assert_eq!(classify_sqlite(1555, "UNIQUE constraint failed"), ErrorKind::Rejected);
    }

    #[test]
    fn a_broken_connection_is_found_behind_a_users_own_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not charge the card")]
        struct Charge(#[source] sqlx::Error);

        let lost = Charge(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
        assert_eq!(infrastructure(&lost), Some(ErrorKind::Unavailable));
        assert_eq!(infrastructure(&Charge(sqlx::Error::RowNotFound)), None);

        let ours = database("read")(sqlx::Error::PoolTimedOut);
        assert_eq!(infrastructure(&ours), Some(ErrorKind::Unavailable));
        assert_eq!(infrastructure(&std::io::Error::other("mail server")), None);
    }

    #[test]
    fn a_commit_on_a_broken_connection_has_an_unknown_outcome() {
        let error = commit("commit")(sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into()));
        assert_eq!(error.retry(), Retry::OutcomeUnknown);
        assert_eq!(commit("commit")(sqlx::Error::RowNotFound).retry(), Retry::Never);
    }
}
