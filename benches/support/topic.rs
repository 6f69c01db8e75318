//! A topic of one's own, deleted however the row ends.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use relaybox::{
    TopicName,
    kafka::{EmbeddedCluster, KafkaAdmin, KafkaConfig, TopicSpec},
};
use uuid::Uuid;

use super::{PARTITIONS, database::on_a_thread};

/// A uniquely named topic of twelve partitions.
pub(crate) struct Topic {
    brokers: String,
    name: TopicName,
    /// Its cluster, unless a real one keeps it.
    cluster: Option<EmbeddedCluster>,
}

impl Topic {
    /// Makes one on a real broker, whose durability settings it has.
    pub(crate) async fn create(brokers: &str) -> Self {
        let topic = Self { brokers: brokers.to_owned(), name: unique(), cluster: None };
        let spec = TopicSpec::new(topic.name.clone(), PARTITIONS, -1)
            // Its disk space is wanted soon after it is deleted.
            .set("file.delete.delay.ms", "1000");
        let admin = KafkaAdmin::new(KafkaConfig::new(brokers)).unwrap();
        admin.ensure_topics(&[spec]).await.unwrap();
        topic
    }

    /// Makes one on librdkafka's mock cluster of one broker.
    pub(crate) fn embedded() -> Self {
        let (cluster, name) = (EmbeddedCluster::start(1).unwrap(), unique());
        cluster.create_topic(&name, PARTITIONS).unwrap();
        Self { brokers: cluster.brokers(), name, cluster: Some(cluster) }
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(crate) fn name(&self) -> &TopicName {
        &self.name
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if self.cluster.is_some() {
            return;
        }
        let (brokers, name) = (self.brokers.clone(), self.name.clone());
        let deleted = on_a_thread(async move {
            let admin: AdminClient<DefaultClientContext> =
                ClientConfig::new().set("bootstrap.servers", brokers).create()?;
            admin.delete_topics(&[name.as_str()], &AdminOptions::new()).await
        });
        if !matches!(deleted.as_ref().map(|results| results.as_deref()), Some(Ok([Ok(_)]))) {
            eprintln!("the topic {} stays: {deleted:?}", self.name);
        }
    }
}

fn unique() -> TopicName {
    TopicName::new(format!("relaybox-bench-{}", Uuid::new_v4().simple())).unwrap()
}
