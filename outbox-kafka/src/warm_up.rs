//! The first record of a key goes alone, until the broker knows the producer in all partitions.
//!
//! A producer numbers its records, so that a broker takes none before its predecessor. But of a producer
//! that it knows nothing of, in a partition, a broker takes whatever number comes first (KAFKA-15591).
//! Say the topic is being made or its leader changes: the first request is refused and will be tried
//! again, the second one, already on its way, is taken. The first one's records can't follow any more,
//! and librdkafka takes them as delivered, for what came behind them was.
//!
//! That nothing is lost by this, is for the delivery reports to see: such a record has no offset. That
//! no key is out of order, is seen to here: while a key's first record is on its way, the key's later ones
//! are held back. Once every partition of a topic has answered, nothing is held back any more.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

/// When it begins anew: a broker forgets a producer that has sent a partition nothing for a day
/// (`producer.id.expiration.ms`).
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How many keys of a topic it remembers. Those that it forgets go alone again.
const MAX_KEYS: usize = 50_000;

/// Which records may go. `T` is a record that is held back.
#[derive(Debug)]
pub(crate) struct WarmUp<T> {
    topics: HashMap<Box<str>, Topic<T>>,
    hasher: RandomState,
    began: Instant,
    /// Nobody has been sent yet to ask how many partitions some topic has.
    to_ask: bool,
    /// Somebody is asking.
    asking: bool,
}

#[derive(Debug)]
struct Topic<T> {
    /// None until it is known.
    partitions: Option<i32>,
    /// Those that have answered.
    answered: HashSet<i32>,
    /// All of them have.
    is_warm: bool,
    /// By their hash.
    keys: HashMap<u64, Key<T>>,
    /// How many of the keys are warm.
    warm_keys: usize,
}

#[derive(Debug)]
enum Key<T> {
    /// The first record is on its way, with those that wait for it.
    OnItsWay(VecDeque<T>),
    /// Its partition has answered.
    Warm,
}

/// What to do with a record.
#[derive(Debug)]
pub(crate) enum Admission<'a, T> {
    /// Send it.
    Go,
    /// Send it, and say what became of it.
    First(Probe),
    /// Put it here: it comes out when the first one of its key is answered for.
    Wait(&'a mut VecDeque<T>),
}

/// Names the first record of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe(u64);

impl<T> WarmUp<T> {
    pub(crate) fn new() -> Self {
        Self {
            topics: HashMap::new(),
            hasher: RandomState::new(),
            began: Instant::now(),
            to_ask: false,
            asking: false,
        }
    }

    /// Begins anew if it is time; what is on its way is not forgotten.
    pub(crate) fn look_at_the_clock(&mut self, now: Instant) {
        if now.duration_since(self.began) < EVERY {
            return;
        }
        self.began = now;
        self.to_ask = !self.topics.is_empty();
        for topic in self.topics.values_mut() {
            topic.partitions = None;
            topic.answered.clear();
            topic.is_warm = false;
            topic.forget_keys();
        }
    }

    /// Takes note of a topic.
    pub(crate) fn meet(&mut self, topic: &str) {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.into(), Topic::new());
            self.to_ask = true;
        }
    }

    /// Whether somebody must be sent to ask how many partitions the [unknown](Self::unknown) topics have.
    pub(crate) fn must_ask(&mut self) -> bool {
        std::mem::take(&mut self.to_ask) && !std::mem::replace(&mut self.asking, true)
    }

    /// The topics of which nobody knows how many partitions they have. If there is none, who asks is done.
    pub(crate) fn unknown(&mut self) -> Vec<Box<str>> {
        let unknown = self.topics.iter().filter(|(_, topic)| topic.partitions.is_none());
        let unknown: Vec<_> = unknown.map(|(name, _)| name.clone()).collect();
        self.asking = !unknown.is_empty();
        unknown
    }

    /// Says how many partitions a topic has.
    pub(crate) fn learn(&mut self, topic: &str, partitions: i32) {
        let Some(topic) = self.topics.get_mut(topic) else { return };
        topic.partitions = Some(partitions);
        topic.look();
    }

    /// Decides about a record of a topic that it has [met](Self::meet).
    pub(crate) fn admit(&mut self, topic: &str, key: &[u8]) -> Admission<'_, T> {
        let Some(topic) = self.topics.get_mut(topic) else { return Admission::Go };
        let is_warm = topic.is_warm;
        if is_warm && topic.keys.is_empty() {
            return Admission::Go;
        }
        let hash = self.hasher.hash_one(key);
        match topic.keys.entry(hash) {
            Entry::Occupied(key) => match key.into_mut() {
                Key::OnItsWay(waiting) => Admission::Wait(waiting),
                Key::Warm => Admission::Go,
            },
            Entry::Vacant(_) if is_warm => Admission::Go,
            Entry::Vacant(key) => {
                key.insert(Key::OnItsWay(VecDeque::new()));
                Admission::First(Probe(hash))
            }
        }
    }

    /// The broker has the first record of a key: gives those that waited, to be sent before anything else
    /// is [admitted](Self::admit).
    pub(crate) fn answered(
        &mut self,
        topic: &str,
        Probe(hash): Probe,
        partition: i32,
    ) -> VecDeque<T> {
        let Some(topic) = self.topics.get_mut(topic) else { return VecDeque::new() };
        let waiting = waiting(topic.keys.remove(&hash));
        if topic.is_warm {
            return waiting;
        }
        if topic.warm_keys >= MAX_KEYS {
            topic.forget_keys();
        }
        topic.keys.insert(hash, Key::Warm);
        topic.warm_keys += 1;
        if topic.partitions.is_some_and(|partitions| partition >= partitions) {
            // There are more by now.
            topic.partitions = None;
            self.to_ask = true;
        }
        topic.answered.insert(partition);
        topic.look();
        waiting
    }

    /// It has not: gives those that waited, which must not be sent.
    pub(crate) fn failed(&mut self, topic: &str, Probe(hash): Probe) -> VecDeque<T> {
        waiting(self.topics.get_mut(topic).and_then(|topic| topic.keys.remove(&hash)))
    }
}

impl<T> Topic<T> {
    fn new() -> Self {
        Self {
            partitions: None,
            answered: HashSet::new(),
            is_warm: false,
            keys: HashMap::new(),
            warm_keys: 0,
        }
    }

    /// Looks whether it is warm now: then only the keys matter for which something waits.
    fn look(&mut self) {
        let Some(partitions) = self.partitions else { return };
        if (0..partitions).all(|partition| self.answered.contains(&partition)) {
            self.is_warm = true;
            self.forget_keys();
        }
    }

    fn forget_keys(&mut self) {
        self.keys.retain(|_, key| matches!(key, Key::OnItsWay(_)));
        self.warm_keys = 0;
    }
}

fn waiting<T>(key: Option<Key<T>>) -> VecDeque<T> {
    match key {
        Some(Key::OnItsWay(waiting)) => waiting,
        Some(Key::Warm) | None => VecDeque::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met() -> WarmUp<u32> {
        let mut warm_up = WarmUp::new();
        warm_up.meet("t");
        assert!(warm_up.must_ask());
        warm_up
    }

    /// Whether a record may go; if not, it waits.
    fn goes(warm_up: &mut WarmUp<u32>, key: &str, n: u32) -> bool {
        match warm_up.admit("t", key.as_bytes()) {
            Admission::Go => true,
            Admission::Wait(waiting) => {
                waiting.push_back(n);
                false
            }
            Admission::First(_) => panic!("{key} {n} is the first one"),
        }
    }

    fn first(warm_up: &mut WarmUp<u32>, key: &str) -> Probe {
        match warm_up.admit("t", key.as_bytes()) {
            Admission::First(probe) => probe,
            other => panic!("{key}: {other:?}"),
        }
    }

    #[test]
    fn a_key_waits_for_its_first_record_and_no_other_does() {
        let mut warm_up = met();
        let a = first(&mut warm_up, "a");
        assert!(!goes(&mut warm_up, "a", 1));
        let b = first(&mut warm_up, "b");
        assert!(!goes(&mut warm_up, "a", 2));
        assert_eq!(warm_up.answered("t", a, 0), [1, 2]);
        assert!(goes(&mut warm_up, "a", 3));
        assert!(!goes(&mut warm_up, "b", 3));
        assert_eq!(warm_up.failed("t", b), [3]);
        first(&mut warm_up, "b");
    }

    #[test]
    fn nothing_is_held_back_once_all_partitions_have_answered() {
        let mut warm_up = met();
        let (a, b) = (first(&mut warm_up, "a"), first(&mut warm_up, "b"));
        let c = first(&mut warm_up, "c");
        assert!(!goes(&mut warm_up, "c", 1));
        warm_up.answered("t", a, 0);
        warm_up.learn("t", 2);
        first(&mut warm_up, "d");
        warm_up.answered("t", b, 1);
        assert!(goes(&mut warm_up, "e", 1));
        // It must not pass the one that waits.
        assert!(!goes(&mut warm_up, "c", 2));
        assert_eq!(warm_up.answered("t", c, 0), [1, 2]);
        assert!(goes(&mut warm_up, "c", 3));
    }

    #[test]
    fn one_asks_for_all_topics_until_all_are_known() {
        let mut warm_up = met();
        warm_up.meet("t");
        warm_up.meet("u");
        assert!(!warm_up.must_ask(), "somebody is asking");
        warm_up.learn("t", 3);
        assert_eq!(warm_up.unknown(), [Box::from("u")]);
        warm_up.learn("u", 3);
        assert_eq!(warm_up.unknown().len(), 0);
        assert!(!warm_up.must_ask());
        warm_up.meet("v");
        assert!(warm_up.must_ask());
    }

    #[test]
    fn a_topic_that_has_more_partitions_than_was_said_is_not_warm() {
        let mut warm_up = met();
        let (a, b) = (first(&mut warm_up, "a"), first(&mut warm_up, "b"));
        warm_up.learn("t", 2);
        assert_eq!(warm_up.unknown().len(), 0);
        warm_up.answered("t", a, 0);
        warm_up.answered("t", b, 2);
        first(&mut warm_up, "c");
        assert!(warm_up.must_ask());
        warm_up.learn("t", 3);
        first(&mut warm_up, "d");
    }

    #[test]
    fn it_begins_anew_before_a_broker_forgets_the_producer() {
        let mut warm_up = met();
        warm_up.learn("t", 1);
        let a = first(&mut warm_up, "a");
        assert!(!goes(&mut warm_up, "a", 1));
        warm_up.look_at_the_clock(Instant::now() + EVERY);
        warm_up.learn("t", 1);
        assert!(!goes(&mut warm_up, "a", 2));
        assert_eq!(warm_up.answered("t", a, 0), [1, 2]);
        assert!(goes(&mut warm_up, "b", 1));
        warm_up.look_at_the_clock(Instant::now() + 2 * EVERY);
        assert_eq!(warm_up.unknown().len(), 1, "there may be more partitions by now");
        first(&mut warm_up, "b");
    }

    #[test]
    fn it_remembers_a_bounded_number_of_keys() {
        let mut warm_up = met();
        for n in 0..2 * MAX_KEYS {
            let probe = first(&mut warm_up, &n.to_string());
            warm_up.answered("t", probe, 0);
        }
        assert!(warm_up.topics["t"].keys.len() <= MAX_KEYS);
    }
}
