//! The suite on the stores, buses and inboxes of the project.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;
mod list;
mod memory;
mod postgres;
mod simulation;
mod sqlite;

/// The address of a real server, as `scripts/services up` prints it.
///
/// Without it the test is skipped with a loud line that `scripts/test` counts; under CI it fails.
fn server(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{variable} is not set: CI runs every test");
        eprintln!("SKIPPED: {variable} is not set; see scripts/services");
    }
    address
}
