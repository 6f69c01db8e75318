//! Pages that end in the middle: a limit reached proves nothing about what lies beyond.

use crate::{Reading, database};

const LIMITS: [usize; 4] = [1, 2, 3, 500];

#[tokio::test(flavor = "multi_thread")]
async fn a_full_page_proves_nothing_about_the_gaps_beyond_it() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    for limit in LIMITS {
        // Two gaps, of many rows and of one, under a row that was read.
        let mut many = database.pool.begin().await.unwrap();
        for _ in 0..8 {
            database.raise_in(&mut many, "many").await;
        }
        let mut one = database.pool.begin().await.unwrap();
        database.raise_in(&mut one, "one").await;
        database.change("above").await;
        assert_eq!(reading.read(limit).await, ["above"], "limit {limit}");
        assert!(reading.read(limit).await.is_empty());
        // Both end at once: a page is full of the first gap's rows and says nothing about the second.
        one.commit().await.unwrap();
        many.commit().await.unwrap();
        reading.complete_at_once(&database, limit).await;
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_within_a_full_page_is_looked_for_again() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    for limit in LIMITS {
        for settles in [false, true] {
            let mut open = Vec::new();
            for n in 0..6 {
                database.change(&format!("t{n}")).await;
                let mut tx = database.pool.begin().await.unwrap();
                database.raise_in(&mut tx, &format!("late{n}")).await;
                open.push(tx);
            }
            for tx in open {
                reading.read(limit).await;
                if settles {
                    reading.settle().await;
                }
                tx.commit().await.unwrap();
            }
            reading.complete_at_once(&database, limit).await;
        }
    }
    database.drop().await;
}

/// Each page holds gaps of transactions that end, one way or the other, between any two reads.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_end_between_pages_lose_nothing() {
    let Some(database) = database().await else { return };
    let mut reading = Reading::open(&database).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for limit in LIMITS {
        let mut open = Vec::new();
        for step in 0..150 {
            match rng.u8(0..10) {
                0..3 if open.len() < 12 => {
                    let mut tx = database.pool.begin().await.unwrap();
                    // Things of its own, so that it waits for nobody.
                    for _ in 0..rng.u8(1..6) {
                        database.raise_in(&mut tx, &format!("own{limit}-{step}")).await;
                    }
                    open.push(tx);
                }
                0..5 if !open.is_empty() => {
                    let tx = open.swap_remove(rng.usize(..open.len()));
                    if rng.bool() { tx.commit().await } else { tx.rollback().await }.unwrap();
                }
                5..7 => drop(database.change("shared").await),
                7 => reading.settle().await,
                _ => drop(reading.read(limit).await),
            }
        }
        for tx in open {
            tx.commit().await.unwrap();
        }
        reading.complete_at_once(&database, limit).await;
    }
    database.drop().await;
}
