//! What a busy machine takes from everybody, so that a limit on time can be checked all the same.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sqlx::PgPool;
use tokio::task::JoinHandle;

/// Between two commits.
const REST: Duration = Duration::from_millis(5);
/// What the two take, at most, on a machine that has time.
const USUAL: Duration = Duration::from_millis(25);

/// Commits a row of its own again and again, and notes what each time took beyond the usual: that much
/// a process on this machine, with this database, had to stand still.
#[derive(Debug)]
pub struct Stalls {
    rounds: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

impl Stalls {
    /// Starts it on a database; it ends when it is dropped.
    pub async fn watch(pool: &PgPool) -> Self {
        sqlx::raw_sql("CREATE TABLE stalls AS SELECT 0::bigint AS n").execute(pool).await.unwrap();
        let rounds = Arc::new(Mutex::new(vec![Instant::now()]));
        let (pool, ended) = (pool.clone(), Arc::clone(&rounds));
        let task = tokio::spawn(async move {
            let mut connection = pool.acquire().await.unwrap();
            loop {
                tokio::time::sleep(REST).await;
                let commit = sqlx::query("UPDATE stalls SET n = n + 1");
                commit.execute(&mut *connection).await.unwrap();
                ended.lock().unwrap().push(Instant::now());
            }
        });
        Self { rounds, task }
    }

    /// How long everybody stood still since then, in sum.
    #[must_use]
    pub fn since(&self, start: Instant) -> Duration {
        let rounds = self.rounds.lock().unwrap();
        let later = rounds.iter().skip_while(|end| **end <= start).copied();
        // The round that is not over yet counts as well.
        let ends = later.chain([Instant::now()]);
        let mut before = start;
        let mut lost = Duration::ZERO;
        for end in ends {
            lost += (end - before).saturating_sub(USUAL);
            before = end;
        }
        lost
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.task.abort();
    }
}
