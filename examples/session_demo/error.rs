//! Why the demo could not run to its end.

use crate::{database::DatabaseError, session::SessionError};

/// Why the demo could not run to its end. A violated check is no error but a line of the report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Relaybox(#[from] relaybox::Error),
    #[error(transparent)]
    Database(#[from] DatabaseError),
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

impl From<sqlx::Error> for DemoError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<mongodb::error::Error> for DemoError {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Database(error.into())
    }
}
