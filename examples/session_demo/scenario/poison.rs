//! One event that a handler refuses for good.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use relaybox::{EventId, EventSource, Received, cloudevents};
use tokio::time::timeout;
use uuid::Uuid;

use super::{PATIENCE, ledger::Committed};
use crate::{
    error::DemoError,
    session::{SessionRepository, Sessions},
};

/// The service takes it, the projection doesn't understand it: there is no `/` in it.
const POISON: &str = "a device nobody has heard of";

/// Creates a session that the handlers refuse, and refreshes it, which they don't; gives the id of
/// the refused event.
pub(crate) async fn feed<D: SessionRepository>(
    sessions: &Sessions<D>,
    ledger: &Arc<Committed>,
) -> Result<EventId, DemoError> {
    let created = sessions.create(Uuid::now_v7(), POISON.to_owned()).await?;
    ledger.commit(&created);
    ledger.commit(&sessions.refresh(created.session.id).await?);
    Ok(created.event_id)
}

/// A record of the dead-letter topic.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    pub(crate) original_topic: Option<String>,
    pub(crate) reason: Option<String>,
    /// How often it is in the topic.
    pub(crate) copies: u64,
}

/// Reads the dead-letter topic until it has given `expected`, and then as long as more comes at once.
pub(crate) async fn dead_letters<S: EventSource>(
    source: &S,
    expected: EventId,
) -> Result<BTreeMap<EventId, DeadLetter>, DemoError> {
    let mut found: BTreeMap<EventId, DeadLetter> = BTreeMap::new();
    loop {
        let patience =
            if found.contains_key(&expected) { Duration::from_millis(500) } else { PATIENCE };
        let Ok(received) = timeout(patience, source.receive()).await else { break };
        let (partition, deliveries) = match received? {
            Received::Batch { partition, deliveries } => (partition, deliveries),
            Received::Revoked(partition) => {
                source.release(&partition).await?;
                continue;
            }
        };
        let Some(last) = deliveries.last().map(|delivery| delivery.offset) else { continue };
        for delivery in deliveries {
            let header = |wanted: &str| {
                let mut headers = delivery.headers();
                let (_, value) = headers.find(|(name, _)| *name == wanted)?;
                String::from_utf8(value.to_vec()).ok()
            };
            let value = delivery.value.clone().unwrap_or_default();
            let envelope = cloudevents::parse(delivery.key.as_deref(), delivery.headers(), value)?;
            let letter = DeadLetter {
                original_topic: header("dlq-original-topic"),
                reason: header("dlq-error"),
                copies: 0,
            };
            found.entry(envelope.event_id).or_insert(letter).copies += 1;
        }
        source.acknowledge(&partition, last).await?;
    }
    source.close().await?;
    Ok(found)
}
