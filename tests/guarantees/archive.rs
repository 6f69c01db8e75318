//! With an archive, an operator finds every published event on the topic, and old ones go.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Mutex,
    time::Duration,
};

use relaybox::{ArchiveQuery, ArchiveStore, CancellationToken, Relay, Retention};
use relaybox_tests::{Database, Running, Topic, quick, servers, until};

use crate::drained;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_archived_with_the_place_the_broker_gave_it() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let store = database.store().archive_published();
    let relay = Relay::builder(store.clone(), topic.bus()).topics(topic.map());
    let relay = Running::relay(relay.lease_ttl(Duration::from_secs(30)).retry(quick()));
    for _ in 0..10 {
        for thing in ["a", "b", "c", "d", "e", "f"] {
            database.change(thing).await;
        }
    }
    drained(&database).await;
    relay.stop().await;

    let archived = store.archived(&ArchiveQuery::latest()).await.unwrap();
    let places: HashSet<_> = topic.places().await.into_iter().collect();
    for event in &archived {
        assert_eq!(event.topic, topic.name);
        assert!(event.enqueued_at <= event.published_at, "{event:?}");
        let (partition, offset) = (event.receipt.partition.unwrap(), event.receipt.offset.unwrap());
        assert!(places.contains(&(event.event_id, partition, offset)), "{event:?}");
    }
    let ids: BTreeSet<_> = archived.iter().map(|event| event.event_id).collect();
    assert_eq!((archived.len(), ids.len()), (60, 60), "each event once");
    let envelopes: Vec<_> = archived.into_iter().map(|event| event.envelope.unwrap()).collect();
    database.assert_none_lost(&envelopes).await;

    let batches = Mutex::new(Vec::new());
    let purge = |age, limit| {
        let (store, batches) = (&store, &batches);
        async move {
            let purged = store.purge_archive(age, limit).await?;
            batches.lock().unwrap().push(purged);
            Ok(purged)
        }
    };
    let stop = CancellationToken::new();
    let retention = Retention::new(Duration::ZERO).batch(10);
    let stopping = async {
        until("it finds nothing", async || batches.lock().unwrap().last() == Some(&0)).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(retention.run(purge, stop.clone()), stopping);
    ended.unwrap();
    assert_eq!(*batches.lock().unwrap(), [10, 10, 10, 10, 10, 10, 0]);
    assert!(store.archived(&ArchiveQuery::latest()).await.unwrap().is_empty());
    database.drop().await;
}
