//! What the driver's errors mean: classified here, once.

use std::{error::Error as StdError, fmt};

use mongodb::error::{
    Error as DriverError, ErrorKind as E, RETRYABLE_WRITE_ERROR, SYSTEM_OVERLOADED_ERROR,
    TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};
use relaybox_core::{Error, ErrorKind, Lease, Retry};

pub(crate) const DUPLICATE_KEY: i32 = 11000;
const NAMESPACE_EXISTS: i32 = 48;
const COMMAND_NOT_FOUND: i32 = 59;

/// Turns the driver's error into the library's.
pub(crate) fn database(operation: &'static str) -> impl Fn(DriverError) -> Error {
    move |source| {
        let kind = classify(&source);
        Error::new(kind, operation).detail(advice(kind, &source)).caused_by(Described::of(&source))
    }
}

/// The same for a write that is not undone with a transaction: when the connection broke, or the
/// majority did not answer in time, nobody knows whether it took effect.
pub(crate) fn commit(operation: &'static str) -> impl Fn(DriverError) -> Error {
    move |source| {
        let concern = matches!(&*source.kind, E::Write(WriteFailure::WriteConcernError(_)));
        let unknown = concern || source.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
        let error = database(operation)(source);
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => error.with_retry(Retry::OutcomeUnknown),
            _ if unknown => error.with_retry(Retry::OutcomeUnknown),
            _ => error,
        }
    }
}

/// The same for marks: whoever inserted the same one meanwhile is no reason to give up on an event.
pub(crate) fn race(operation: &'static str) -> impl Fn(DriverError) -> Error {
    move |source| {
        if code(&source) != Some(DUPLICATE_KEY) {
            return database(operation)(source);
        }
        Error::new(ErrorKind::Conflict, operation)
            .detail("another transaction was faster; this one is over, begin anew")
            .caused_by(Described::of(&source))
    }
}

/// Finds a failure of the surroundings among an error and its sources.
pub(crate) fn infrastructure(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = if let Some(error) = error.downcast_ref::<DriverError>() {
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

/// Whether the same unit of work may succeed in a transaction of its own that begins now.
///
/// What has an unknown outcome is not among them: that is for whoever knows how to look.
pub(crate) fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DriverError>() {
            let unknown = error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
            let transient = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
            if !unknown && (transient || classify(error) == ErrorKind::Conflict) {
                return true;
            }
        } else if let Some(error) = error.downcast_ref::<Error>() {
            let again = matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Unavailable);
            if again && error.retry() == Retry::Later {
                return true;
            }
        }
        next = error.source();
    }
    false
}

/// Whether a commit should be sent again on the same transaction.
pub(crate) fn is_unknown_commit(error: &DriverError) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

pub(crate) fn is_duplicate_key(error: &DriverError) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}

/// The collection is there already.
pub(crate) fn is_there_already(error: &DriverError) -> bool {
    code(error) == Some(NAMESPACE_EXISTS)
}

/// The server doesn't know the command.
pub(crate) fn is_unknown_command(error: &DriverError) -> bool {
    code(error) == Some(COMMAND_NOT_FOUND)
}

/// The lease is another's.
pub(crate) fn lease_lost(operation: &'static str, lease: &Lease) -> Error {
    Error::new(ErrorKind::LeaseLost, operation)
        .detail(format!("the lease of epoch {} is over; nothing was changed", lease.epoch))
}

/// A driver's error, as the source of the library's: what happened, without values.
///
/// The driver's own `Display` and `Debug` show the server's whole answer, which repeats the keys of a
/// duplicate and the addresses of the servers, so the original is not kept.
struct Described(String);

impl Described {
    fn of(error: &DriverError) -> Self {
        let name = |name: &str, code: i32| match name {
            "" => format!("the server's error {code}"),
            name => format!("the server's error {code} ({name})"),
        };
        Self(match &*error.kind {
            E::Command(error) if quotes_no_value(error.code) => {
                format!("{}: {}", name(&error.code_name, error.code), error.message)
            }
            E::Command(error) => name(&error.code_name, error.code),
            E::Write(WriteFailure::WriteError(error)) => {
                name(error.code_name.as_deref().unwrap_or_default(), error.code)
            }
            E::Write(WriteFailure::WriteConcernError(error)) => name(&error.code_name, error.code),
            E::Io(error) => format!("I/O error: {error}"),
            E::ServerSelection { .. } => "no server could be selected in time".to_owned(),
            E::ConnectionPoolCleared { .. } => "the connections to the server broke".to_owned(),
            E::Authentication { .. } => "the server refused to authenticate the user".to_owned(),
            E::InvalidTlsConfig { .. } => "the TLS settings are not valid".to_owned(),
            E::DnsResolve { .. } => "the server's name could not be resolved".to_owned(),
            E::SessionsNotSupported => "the deployment has no sessions".to_owned(),
            E::Transaction { message, .. } => message.clone(),
            E::Shutdown => "the client was shut down".to_owned(),
            _ => match code(error) {
                Some(code) => name("", code),
                None => "the driver's error".to_owned(),
            },
        })
    }
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("mongodb::error::Error").field(&self.0).finish()
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Described {}

/// The messages of these codes say what the server does, and nothing of the documents.
fn quotes_no_value(code: i32) -> bool {
    !matches!(classify_code(code), ErrorKind::Rejected | ErrorKind::TooLarge | ErrorKind::Other)
}

/// The server's code, of a write's first error where there are several.
fn code(error: &DriverError) -> Option<i32> {
    let code = match &*error.kind {
        E::Command(error) => Some(error.code),
        E::Write(WriteFailure::WriteError(error)) => Some(error.code),
        E::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        E::InsertMany(error) => {
            let write = error.write_errors.iter().flatten().map(|error| error.code).next();
            write.or(error.write_concern_error.as_ref().map(|error| error.code))
        }
        E::BulkWrite(error) => error.write_errors.values().map(|error| error.code).next(),
        _ => None,
    };
    let source = || error.source().and_then(|source| source.downcast_ref().and_then(self::code));
    code.or_else(source)
}

fn classify(error: &DriverError) -> ErrorKind {
    let kind = match (code(error), &*error.kind) {
        // A standalone server has no transactions. The driver puts a text about retryable writes in the
        // place of the server's.
        (Some(20), E::Command(error))
            if ["replica set", "retryable writes"]
                .iter()
                .any(|why| error.message.contains(why)) =>
        {
            ErrorKind::Invalid
        }
        (Some(2), E::Command(error)) if error.message.contains("hint") => ErrorKind::Schema,
        (Some(code), _) => classify_code(code),
        (None, kind) => match kind {
            E::Io(_)
            | E::ConnectionPoolCleared { .. }
            | E::ServerSelection { .. }
            | E::DnsResolve { .. }
            | E::Shutdown => ErrorKind::Unavailable,
            E::Authentication { .. } | E::InvalidTlsConfig { .. } => ErrorKind::Authentication,
            E::InvalidArgument { .. } | E::IncompatibleServer { .. } | E::SessionsNotSupported => {
                ErrorKind::Invalid
            }
            _ => ErrorKind::Other,
        },
    };
    // A label counts where the code says nothing, or something else.
    let labelled = |label| error.contains_label(label);
    match kind {
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Conflict => kind,
        _ if labelled(TRANSIENT_TRANSACTION_ERROR) => ErrorKind::Conflict,
        _ if labelled(RETRYABLE_WRITE_ERROR) || labelled(SYSTEM_OVERLOADED_ERROR) => {
            ErrorKind::Unavailable
        }
        kind => kind,
    }
}

/// See `src/mongo/base/error_codes.yml` of the server.
fn classify_code(code: i32) -> ErrorKind {
    match code {
        // WriteConflict, LockTimeout, NoSuchTransaction, TransactionTooOld, SnapshotTooOld,
        // SnapshotUnavailable, CursorNotFound, CursorKilled, PreparedTransactionInProgress, LockBusy,
        // StaleEpoch, StaleDbVersion, StaleConfig, ConflictingOperationInProgress.
        112 | 24 | 251 | 225 | 239 | 246 | 43 | 237 | 267 | 46 | 150 | 249 | 13388 | 117 => {
            ErrorKind::Conflict
        }
        // MaxTimeMSExpired, ExceededTimeLimit, WriteConcernTimeout,
        // TransactionExceededLifetimeLimitSeconds, NetworkInterfaceExceededTimeLimit.
        50 | 262 | 64 | 290 | 202 => ErrorKind::Timeout,
        // HostUnreachable, HostNotFound, NetworkTimeout, ShutdownInProgress, PrimarySteppedDown,
        // FailedToSatisfyReadPreference, ReadConcernMajorityNotAvailableYet, NotWritablePrimary,
        // InterruptedAtShutdown, Interrupted, InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk,
        // NotPrimaryOrSecondary, OutOfDiskSpace, SocketException, UnsatisfiableWriteConcern.
        6 | 7 | 89 | 91 | 189 | 133 | 134 | 10107 | 10058 | 11600 | 11601 | 11602 | 13435
        | 13436 | 14031 | 9001 | 100 => ErrorKind::Unavailable,
        // Unauthorized, AuthenticationFailed, UserNotFound, AtlasError, ReauthenticationRequired.
        13 | 18 | 11 | 8000 | 391 => ErrorKind::Authentication,
        // NamespaceNotFound, IndexNotFound, IndexOptionsConflict, IndexKeySpecsConflict.
        26 | 27 | 85 | 86 => ErrorKind::Schema,
        // NotAReplicaSet: a snapshot read on a standalone server.
        123 => ErrorKind::Invalid,
        // BSONObjectTooLarge.
        10334 => ErrorKind::TooLarge,
        // DuplicateKey, DocumentValidationFailure, ImmutableField.
        DUPLICATE_KEY | 121 | 66 => ErrorKind::Rejected,
        _ => ErrorKind::Other,
    }
}

/// What to do about it, where that is not plain from the source.
fn advice(kind: ErrorKind, source: &DriverError) -> &'static str {
    match kind {
        ErrorKind::Schema => {
            "the collections or indexes are missing or not as MongoMigrator makes them; run it, and \
             check their names and the database's"
        }
        ErrorKind::Authentication => "the database refuses this user, or lets it not do this",
        ErrorKind::Unavailable => "the database can't be reached or is not able to work",
        ErrorKind::Conflict => "the database is busy with something that conflicts",
        ErrorKind::Invalid if !matches!(&*source.kind, E::InvalidArgument { .. }) => {
            crate::deployment::WANTED
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_what_to_do() {
        for (code, kind) in [
            (112, ErrorKind::Conflict),
            (251, ErrorKind::Conflict),
            (24, ErrorKind::Conflict),
            (246, ErrorKind::Conflict),
            (50, ErrorKind::Timeout),
            (290, ErrorKind::Timeout),
            (189, ErrorKind::Unavailable),
            (10107, ErrorKind::Unavailable),
            (13, ErrorKind::Authentication),
            (26, ErrorKind::Schema),
            (11000, ErrorKind::Rejected),
            (999, ErrorKind::Other),
        ] {
            assert_eq!(classify_code(code), kind, "{code}");
        }
    }

    #[test]
    fn a_broken_connection_is_found_behind_a_users_own_error() {
        #[derive(Debug)]
        struct Charge(DriverError);
        impl fmt::Display for Charge {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("could not charge the card")
            }
        }
        impl StdError for Charge {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let broken = DriverError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!(infrastructure(&Charge(broken.clone())), Some(ErrorKind::Unavailable));
        assert_eq!(infrastructure(&Charge(DriverError::custom("no such card"))), None);
        assert_eq!(infrastructure(&database("read")(broken.clone())), Some(ErrorKind::Unavailable));
        assert_eq!(commit("commit")(broken).retry(), Retry::OutcomeUnknown);
        assert_eq!(infrastructure(&std::io::Error::other("mail server")), None);
    }
}
