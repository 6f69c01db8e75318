//! How the server stood when a read looked.

use sqlx::{Row, postgres::PgRow};

use super::gaps::{Holder, Holders};

/// What a read says beside its events.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// Up to where the log is on the disk, in bytes.
    pub(super) flushed: i64,
    /// Up to where the log was written: nothing visible to the read is behind it.
    pub(super) written: i64,
    /// All transactions before this one had ended.
    pub(super) oldest: i64,
    /// How many transactions ago it began.
    oldest_age: i32,
    /// Whether there were any.
    pub(super) has_dead_letters: bool,
    /// Of the outbox, in bytes.
    pub(super) table_size: i64,
    /// Who held the writers' lock; none were looked for where there was no gap.
    pub(super) holders: Holders,
    /// Whether it looked at the gaps that were asleep.
    pub(super) woken: bool,
}

impl Status {
    /// How many columns it takes.
    pub(super) const COLUMNS: usize = 9;

    pub(super) fn decode(row: &PgRow) -> sqlx::Result<Self> {
        let holders: Option<Vec<String>> = row.try_get(6)?;
        let ages: Option<Vec<Option<i32>>> = row.try_get(7)?;
        let mut status = Self {
            flushed: row.try_get(0)?,
            written: row.try_get(1)?,
            oldest: row.try_get(2)?,
            oldest_age: row.try_get(3)?,
            has_dead_letters: row.try_get(4)?,
            table_size: row.try_get(5)?,
            holders: Holders::new(),
            woken: row.try_get(8)?,
        };
        let ages = ages.into_iter().flatten();
        for (name, age) in holders.into_iter().flatten().zip(ages) {
            let id = age.map(|age| status.transaction(age));
            status.holders.insert(holder(name), id);
        }
        Ok(status)
    }

    /// The transaction that is so old.
    pub(super) fn transaction(&self, age: i32) -> i64 {
        self.oldest + i64::from(self.oldest_age) - i64::from(age)
    }
}

fn holder(name: String) -> Holder {
    match name.strip_prefix("prepared ") {
        Some(name) => Holder { name: name.to_owned(), prepared: true },
        None => Holder { name, prepared: false },
    }
}
