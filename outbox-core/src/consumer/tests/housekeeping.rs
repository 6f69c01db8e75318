//! Figures, and the marks' age.

use super::*;

#[tokio::test(start_paused = true)]
async fn old_marks_of_the_consumer_are_removed_while_it_runs_and_no_others() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let event = send(&bus, &store, "a", 1);
    let mut other = store.begin();
    let (another, id) = (ConsumerName::new("another").unwrap(), crate::EventId::new());
    store.mark(&mut other, &another, &[id]).await.unwrap();
    other.commit();

    let hour = Duration::from_secs(3600);
    let consumer =
        builder(&bus, &store).keep_marks(hour).on::<Counted, _>(Append::default()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some()).await;
    tokio::time::sleep(hour / 2).await;
    bus.append(&topic(), event.clone());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.get("a").unwrap(), "1,", "the mark is young");
    tokio::time::sleep(hour).await;
    bus.append(&topic(), event);
    until(|| store.get("a").unwrap() == "1,1,").await;
    consumer.stop().await;
    let known = store.known(&another, &[id]).await.unwrap();
    assert_eq!(known, [crate::Mark::Repeat], "another consumer's marks are its own");
}
