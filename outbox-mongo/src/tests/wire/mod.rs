//! What goes over the wire, to a scripted server: the shape of transactions, and what follows errors.

mod lease;
mod marks;
mod reading;
mod server;
mod settling;
mod transactions;

use mongodb::bson::Document;

use self::server::{Answer, Server, error, found, name, write_error};

const TRANSIENT: &str = "TransientTransactionError";
const UNKNOWN: &str = "UnknownTransactionCommitResult";

/// The number of the transaction that a command is in.
fn transaction(command: &Document) -> Option<i64> {
    command.get_i64("txnNumber").ok()
}

/// Asserts that no transaction went on after a failure but to its end by an abort, and that these commands
/// are in one transaction: one session, one number, begun by the first.
fn assert_is_one_transaction(commands: &[Document]) {
    let first = &commands[0];
    assert!(transaction(first).is_some(), "{first}");
    for (at, command) in commands.iter().enumerate() {
        assert_eq!(command.get("lsid"), first.get("lsid"), "one session");
        assert_eq!(transaction(command), transaction(first), "one number");
        assert!(!command.get_bool("autocommit").unwrap(), "{command}");
        assert_eq!(command.get_bool("startTransaction").is_ok(), at == 0, "begun by the first");
        let concern = command.get_document("readConcern");
        assert_eq!(concern.is_ok(), at == 0, "its snapshot is the first one's");
    }
}
