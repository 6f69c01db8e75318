//! Deposits on accounts: what was sent, what became of it, and whether the two agree.

use std::collections::BTreeMap;

use relaybox::{
    DomainEvent, EventBus, Outbox, Record, TopicName, kafka::KafkaBus, memory::MemoryStore,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::{Database, Topic};

/// The `n`th deposit on an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "account", name = "account.deposited", version = 1)]
pub struct Deposited {
    /// Which account.
    #[event(aggregate_id)]
    pub account: String,
    /// The how-manieth deposit on it, from 1; 0 when it is to have no effect.
    pub n: i64,
    /// How much.
    pub amount: i64,
    /// Whether the consumer does to it what it was told to do to such ones.
    #[serde(default)]
    pub poison: bool,
}

/// Makes deposits, and knows what they come to.
#[derive(Debug)]
pub struct Deposits {
    accounts: Vec<(String, i64)>,
    total: i64,
    amount: i64,
}

impl Deposits {
    /// On so many accounts.
    #[must_use]
    pub fn new(accounts: usize) -> Self {
        let accounts = (0..accounts).map(|n| (format!("a{n}"), 0)).collect();
        Self { accounts, total: 0, amount: 0 }
    }

    /// How many have been made.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.total
    }

    /// A deposit on an account that chance chooses.
    pub fn make(&mut self) -> Deposited {
        let account = fastrand::usize(..self.accounts.len());
        self.make_on(account)
    }

    /// One on each account that the consumer is to treat as it was told.
    pub fn make_poison(&mut self) -> Vec<Deposited> {
        let accounts = 0..self.accounts.len();
        accounts.map(|account| Deposited { poison: true, ..self.make_on(account) }).collect()
    }

    /// One that never has an effect.
    #[must_use]
    pub fn make_fatal(&self) -> Deposited {
        let (account, _) = &self.accounts[fastrand::usize(..self.accounts.len())];
        Deposited { account: account.clone(), n: 0, amount: 0, poison: true }
    }

    fn make_on(&mut self, account: usize) -> Deposited {
        let (account, n) = &mut self.accounts[account];
        let amount = fastrand::i64(1..1000);
        *n += 1;
        self.total += 1;
        self.amount += amount;
        Deposited { account: account.clone(), n: *n, amount, poison: false }
    }

    /// Makes so many, and sends them straight to the topic.
    pub async fn send(&mut self, bus: &KafkaBus, topic: &Topic, count: usize) {
        for chunk in std::iter::repeat_n(1000, count / 1000).chain([count % 1000]) {
            let events: Vec<_> = (0..chunk).map(|_| self.make()).collect();
            send(bus, &topic.name, &events).await;
        }
    }
}

/// Sends events straight to a topic, and waits until it has them.
pub async fn send(bus: &KafkaBus, topic: &TopicName, events: &[Deposited]) {
    let outbox = Outbox::new(MemoryStore::new());
    let record = |event| Record::new(topic.clone(), outbox.envelope(event).unwrap());
    let results = bus.publish(events.iter().map(record).collect()).await;
    assert!(
        results.iter().all(Result::is_ok),
        "{:?}",
        results.iter().find(|result| result.is_err())
    );
}

const TABLES: [&str; 2] = [
    "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)",
    "CREATE TABLE deposits (at bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
     event_id uuid NOT NULL, account text NOT NULL, n bigint NOT NULL, amount bigint NOT NULL, \
     process text NOT NULL)",
];

/// The effect of one deposit: a row, and the account's balance. No constraint refuses a second one.
pub const DEPOSIT: &str = "WITH deposited AS (\
     INSERT INTO deposits (event_id, account, n, amount, process) VALUES ($1, $2, $3, $4, $5)) \
     INSERT INTO accounts (id, balance) VALUES ($2, $4) \
     ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + excluded.balance";

/// The consumer's own tables: a row per effect, numbered as they were made.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// Makes them.
    pub async fn create(database: &Database) -> Self {
        for table in TABLES {
            sqlx::query(table).execute(&database.pool).await.unwrap();
        }
        Self { pool: database.pool.clone() }
    }

    /// How many effects there are.
    pub async fn effects(&self) -> i64 {
        self.number("SELECT count(*) FROM deposits").await
    }

    /// The number of the last effect that can be seen.
    pub async fn last(&self) -> i64 {
        self.number("SELECT coalesce(max(at), 0) FROM deposits").await
    }

    /// How many effects each process has made after the one of this number.
    pub async fn by_process(&self, after: i64) -> BTreeMap<String, i64> {
        let query = "SELECT process, count(*) FROM deposits WHERE at > $1 GROUP BY process";
        let rows = sqlx::query_as(query).bind(after).fetch_all(&self.pool).await.unwrap();
        rows.into_iter().collect()
    }

    /// What is wrong with it, given what was sent; nothing, when each effect happened exactly once, in
    /// the order of its account, and none was given up on.
    pub async fn audit(&self, sent: &Deposits) -> Vec<String> {
        let mut wrong = self.audit_effects(sent).await;
        let given_up = self.number("SELECT count(*) FROM given_up_events").await;
        if given_up != 0 {
            wrong.push(format!("{given_up} given up on"));
        }
        wrong
    }

    /// As [`audit`](Self::audit), where something was to be given up on.
    pub async fn audit_effects(&self, sent: &Deposits) -> Vec<String> {
        let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
        expected.extend(sent.accounts.iter().map(|(id, n)| (id.as_str(), *n)));
        expected.retain(|_, n| *n > 0);
        let last: Vec<(String, i64)> =
            sqlx::query_as("SELECT account, max(n) FROM deposits GROUP BY account")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        let last: BTreeMap<&str, i64> = last.iter().map(|(id, n)| (id.as_str(), *n)).collect();
        let mut wrong = Vec::new();
        for (what, expected, query) in [
            ("effects", sent.total, "SELECT count(*) FROM deposits"),
            ("events", sent.total, "SELECT count(DISTINCT event_id) FROM deposits"),
            ("sum of the effects", sent.amount, "SELECT sum(amount)::bigint FROM deposits"),
            ("sum of the balances", sent.amount, "SELECT sum(balance)::bigint FROM accounts"),
            ("effects out of their account's order", 0, INVERSIONS),
        ] {
            let found = self.number(query).await;
            if found != expected {
                wrong.push(format!("{what}: {found} instead of {expected}"));
            }
        }
        if last != expected {
            wrong.push("the last deposit of some account".to_owned());
        }
        wrong
    }

    /// The first column of the first row; 0 for null.
    async fn number(&self, query: &'static str) -> i64 {
        let number: Option<i64> = sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap();
        number.unwrap_or(0)
    }
}

const INVERSIONS: &str = "SELECT count(*) FROM (\
     SELECT n, lag(n) OVER (PARTITION BY account ORDER BY at) AS before FROM deposits) AS pairs \
     WHERE n <> coalesce(before, 0) + 1";
