//! Why the demo could not run to its end.

use crate::session::SessionError;

/// Why the demo could not run to its end. A violated check is no error but a line of the report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Relaybox(#[from] relaybox::Error),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("a session could not be changed")]
    Session(#[from] SessionError),
    #[error("the address to serve on can't be had")]
    Address(#[source] std::io::Error),
    #[error("input or output failed")]
    Io(#[from] std::io::Error),
    #[error("a task ended before its time")]
    Task(#[from] tokio::task::JoinError),
    #[error("the metrics recorder could not be installed")]
    Metrics,
    #[error("nothing is handled any more; RUST_LOG=warn says why")]
    Stalled,
    #[error("interrupted")]
    Interrupted,
}
