//! What a busy machine takes from everybody, so that a limit on time can be checked all the same.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use relaybox::{EventBus, Outbox, Record, memory::MemoryStore};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::{Changed, Topic};

/// Between two commits or two records.
const REST: Duration = Duration::from_millis(5);
/// What the rest and a commit take, at most, on a machine that has time.
const COMMIT: Duration = Duration::from_millis(10);
/// What the rest and a record take, with the client's linger.
const RECORD: Duration = Duration::from_millis(20);

/// Commits a row of its own again and again, and publishes a record beside it, and notes what each time
/// took beyond the usual: that much a process on this machine, with these servers, had to stand still.
#[derive(Debug)]
pub struct Stalls {
    commits: Rounds,
    records: Rounds,
    tasks: [JoinHandle<()>; 2],
}

/// When each round ended.
#[derive(Debug, Clone)]
struct Rounds {
    ends: Arc<Mutex<Vec<Instant>>>,
    usual: Duration,
}

impl Stalls {
    /// Starts it on a database and on the dead-letter topic of a topic; it ends when it is dropped.
    pub async fn watch(pool: &PgPool, topic: &Topic) -> Self {
        sqlx::raw_sql("CREATE TABLE stalls AS SELECT 0::bigint AS n").execute(pool).await.unwrap();
        let (commits, records) = (Rounds::new(COMMIT), Rounds::new(RECORD));
        let (pool, ended) = (pool.clone(), commits.clone());
        let committing = tokio::spawn(async move {
            let mut connection = pool.acquire().await.unwrap();
            loop {
                let commit = sqlx::query("UPDATE stalls SET n = n + 1");
                commit.execute(&mut *connection).await.unwrap();
                ended.end().await;
            }
        });
        let (bus, topic, ended) = (topic.bus(), topic.dead_letters(), records.clone());
        let publishing = tokio::spawn(async move {
            let outbox = Outbox::new(MemoryStore::new());
            let event = Changed { id: "stalls".to_owned(), n: 0 };
            loop {
                let record = Record::new(topic.clone(), outbox.envelope(&event).unwrap());
                bus.publish(vec![record]).await.remove(0).unwrap();
                ended.end().await;
            }
        });
        Self { commits, records, tasks: [committing, publishing] }
    }

    /// How long everybody who commits stood still since then, in sum.
    #[must_use]
    pub fn of_commits(&self, since: Instant) -> Duration {
        self.commits.lost(since)
    }

    /// How long everybody who commits or publishes stood still since then, in sum.
    #[must_use]
    pub fn of_all(&self, since: Instant) -> Duration {
        self.commits.lost(since) + self.records.lost(since)
    }
}

impl Rounds {
    fn new(usual: Duration) -> Self {
        Self { ends: Arc::new(Mutex::new(vec![Instant::now()])), usual }
    }

    async fn end(&self) {
        self.ends.lock().unwrap().push(Instant::now());
        tokio::time::sleep(REST).await;
    }

    fn lost(&self, start: Instant) -> Duration {
        let ends = self.ends.lock().unwrap();
        let later = ends.iter().skip_while(|end| **end <= start).copied();
        let mut before = start;
        let mut lost = Duration::ZERO;
        // The round that is not over yet counts as well.
        for end in later.chain([Instant::now()]) {
            lost += (end - before).saturating_sub(self.usual);
            before = end;
        }
        lost
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
