//! Events, schemas, registries.

mod chain;
mod gate;
mod stub;

use std::{env, future::Future, time::Duration};

use relaybox_avro::{AvroCodec, EventSchema, RegistryConfig, SchemaRegistry};
use relaybox_core::{DomainEvent, EventId, RetryPolicy, TopicName};
use relaybox_kafka::KafkaConfig;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    chain::{Noted, Running, make_topics, notes, running, topics},
    gate::Gate,
    stub::{Reply, Stub},
};

/// Longer than anything takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The values of variables that `scripts/services up` sets; one line says what is missing.
pub(crate) fn servers<const N: usize>(variables: [&str; N]) -> Option<[String; N]> {
    let missing: Vec<_> =
        variables.into_iter().filter(|variable| env::var_os(variable).is_none()).collect();
    if missing.is_empty() {
        return Some(variables.map(|variable| env::var(variable).unwrap()));
    }
    let missing = missing.join(", ");
    assert!(env::var_os("CI").is_none(), "not set, and this is CI: {missing}");
    eprintln!("SKIPPED: not set: {missing}");
    None
}

pub(crate) fn registry_url() -> Option<String> {
    servers(["RELAYBOX_REGISTRY_URL"]).map(|[url]| url)
}

/// A registry and a broker.
pub(crate) fn both_servers() -> Option<(String, KafkaConfig)> {
    let [url, brokers] = servers(["RELAYBOX_REGISTRY_URL", "RELAYBOX_KAFKA_BROKERS"])?;
    Some((url, KafkaConfig::new(brokers)))
}

/// A client that gives up soon.
pub(crate) fn config(url: &str) -> RegistryConfig {
    let retry = RetryPolicy::default().base(Duration::from_millis(10)).max_attempts(2);
    RegistryConfig::new(url).retry(retry).request_timeout(Duration::from_secs(10)).timeout(PATIENCE)
}

pub(crate) fn registry(url: &str) -> SchemaRegistry {
    SchemaRegistry::new(config(url)).unwrap()
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    within(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) fn unique_topic() -> TopicName {
    TopicName::new(format!("t-{}", EventId::new())).unwrap()
}

pub(crate) const ID: &str = r#"{"name": "session_id", "type": "string"}"#;
pub(crate) const USER: &str = r#"{"name": "user_id", "type": "long"}"#;
pub(crate) const DEVICE: &str =
    r#"{"name": "device", "type": ["null", "string"], "default": null}"#;
pub(crate) const REQUIRED: &str = r#"{"name": "region", "type": "string"}"#;

/// A record `relaybox.tests.SessionCreated` with these fields.
pub(crate) fn schema(fields: &[&str]) -> EventSchema {
    let fields = fields.join(", ");
    let text = format!(
        r#"{{"type": "record", "name": "SessionCreated", "namespace": "relaybox.tests", "fields": [{fields}]}}"#
    );
    EventSchema::parse(text).unwrap()
}

pub(crate) fn v1() -> EventSchema {
    schema(&[ID, USER])
}

pub(crate) fn v2() -> EventSchema {
    schema(&[ID, USER, DEVICE])
}

/// An event as its first writers know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "session", name = "session.created", version = 1)]
pub(crate) struct SessionCreated {
    #[event(aggregate_id)]
    pub(crate) session_id: String,
    pub(crate) user_id: i64,
}

/// The same event, as newer readers know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[serde(rename = "SessionCreated")]
#[event(aggregate = "session", name = "session.created", version = 1)]
pub(crate) struct SessionCreatedLater {
    #[event(aggregate_id)]
    pub(crate) session_id: String,
    pub(crate) user_id: i64,
    pub(crate) device: Option<String>,
}

/// An event of another aggregate type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "cart", name = "cart.opened", version = 1)]
pub(crate) struct CartOpened {
    #[event(aggregate_id)]
    pub(crate) cart_id: String,
}

pub(crate) fn session(id: &str, user_id: i64) -> SessionCreated {
    SessionCreated { session_id: id.to_owned(), user_id }
}

pub(crate) fn codec<E: DomainEvent>(schema: &EventSchema) -> AvroCodec {
    AvroCodec::builder().schema_of::<E>(schema.text()).unwrap().build()
}

/// For sessions and carts.
pub(crate) fn both() -> AvroCodec {
    AvroCodec::builder()
        .schema_of::<SessionCreated>(v1().text())
        .unwrap()
        .schema_of::<CartOpened>(
            r#"{"type": "record", "name": "CartOpened", "fields": [{"name": "cart_id", "type": "string"}]}"#,
        )
        .unwrap()
        .build()
}
