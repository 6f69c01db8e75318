//! What a step has shown.

use std::fmt::Debug;

use relaybox_core::error_chain;

/// The store does as the model, or what it does instead.
pub(super) type Checked = Result<(), String>;

/// The result of what nothing hinders.
pub(super) fn done<T>(what: &str, result: relaybox_core::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} fails\n      seen: {}", error_chain(&error)))
}

/// Fails, saying what the model promised and what was seen, unless they are the same.
pub(super) fn same<T: PartialEq + Debug>(what: &str, seen: &T, promised: &T) -> Checked {
    if seen == promised {
        return Ok(());
    }
    Err(format!("{what}\n  promised: {promised:?}\n      seen: {seen:?}"))
}
