//! Why the database failed, whichever it is.

/// The driver's own error is its source, where a consumer finds out whether the surroundings failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    #[error("the database failed")]
    Mongo(#[from] mongodb::error::Error),
    #[error("the transaction failed")]
    Transaction(#[from] relaybox::Error),
    #[error("a stored document is malformed")]
    Malformed,
}

pub(crate) type Result<T> = std::result::Result<T, DatabaseError>;
