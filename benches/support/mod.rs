//! What the benchmarks share.

pub(crate) mod bench;
pub(crate) mod database;
pub(crate) mod figures;
pub(crate) mod machine;
pub(crate) mod options;
pub(crate) mod parent;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod sqlite;
pub(crate) mod topic;

/// The payload of every event, in bytes. It repeats itself: lz4 makes little of it, so that the client
/// and not the network or the broker's disk is the limit, on both sides.
pub(crate) const PAYLOAD: usize = 1024;
/// Of every topic.
pub(crate) const PARTITIONS: i32 = 12;

pub(crate) const POSTGRES_KAFKA: (&str, &str) = ("postgres", "kafka");
