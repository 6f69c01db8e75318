//! What the rows share.

pub(crate) mod bare;
pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod event;
pub(crate) mod figures;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod observed;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod report;
pub(crate) mod sqlite;
pub(crate) mod topic;

/// The payload of every event, in bytes. It repeats itself: lz4 makes little of it, so that the client
/// and not the network or the broker's disk is the limit, on both sides.
pub(crate) const PAYLOAD: usize = 1024;
/// Of every topic.
pub(crate) const PARTITIONS: i32 = 12;
/// Of the producers of both sides, and the default of [`KafkaConfig`](relaybox::kafka::KafkaConfig).
pub(crate) const LINGER: std::time::Duration = std::time::Duration::from_millis(5);
