//! A consumer in a process of its own.

use std::collections::BTreeMap;

use relaybox::ConsumerName;

use crate::{
    child::Job,
    support::{database::Database, process::Process, topic::Topic},
};

/// A consumer of a topic; it ends when this is dropped, or its parent dies.
pub(crate) struct ConsumerProcess(Process);

impl ConsumerProcess {
    pub(crate) fn start(database: &Database, topic: &Topic, group: &ConsumerName) -> Self {
        let (server, name) = database.address();
        Self(Process::start(&Job {
            server: server.to_owned(),
            database: name.to_owned(),
            brokers: topic.brokers().to_owned(),
            topic: topic.name().clone(),
            group: group.clone(),
        }))
    }

    /// The next offset of each partition that it has acknowledged anything of.
    pub(crate) async fn positions(&mut self) -> BTreeMap<i32, i64> {
        self.0.say("report");
        serde_json::from_str(&self.0.line().await).unwrap()
    }

    /// The most memory it ever had resident, in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        self.0.peak_memory()
    }

    /// Shuts it down cleanly.
    pub(crate) async fn stop(mut self) {
        self.0.say("stop");
        assert_eq!(self.0.line().await, "stopped");
    }
}
