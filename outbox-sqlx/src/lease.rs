//! What can be wrong with a lease.

use relaybox_core::{Error, ErrorKind, Lease};

/// The lease is another's.
pub(crate) fn lost(operation: &'static str, lease: &Lease) -> Error {
    Error::new(ErrorKind::LeaseLost, operation)
        .detail(format!("the lease of epoch {} is over; nothing was changed", lease.epoch))
}

/// The migration put a row there, and nothing removes it.
pub(crate) fn no_row(operation: &'static str) -> Error {
    Error::new(ErrorKind::Schema, operation)
        .detail("the table of the lease has no row; put one in with a higher epoch than any before")
}

/// It was neither free to take nor held when asked whose it is, several times over.
pub(crate) fn restless(operation: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .detail("the lease changes hands faster than it is read")
}
