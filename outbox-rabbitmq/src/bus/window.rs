//! What was handed over and has no result yet, in order.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use relaybox_core::{Error, ErrorKind, Receipt, Result, Retry};
use tokio::sync::oneshot;

use super::PUBLISH;
use crate::message::Message;

/// A record's number in the order of handing over.
pub(super) type Number = u64;
pub(super) type Reply = oneshot::Sender<Vec<Result<Receipt>>>;

/// A record that may be sent, or the reason why not.
pub(super) struct Offered {
    pub(super) key: Arc<str>,
    pub(super) message: Result<Message>,
}

/// The records between handing over and result.
///
/// Of a key one record is with the broker at a time: the next one follows its confirm, so that none can be
/// there without the one before it. Results are given in the order of handing over, whatever the order
/// of the confirms: so nothing behind a failure is ever acknowledged.
#[derive(Default)]
pub(super) struct Window {
    first: Number,
    entries: VecDeque<Entry>,
    /// By key: the numbers behind the one that may be sent or is.
    followers: HashMap<Arc<str>, VecDeque<Number>>,
    /// May be sent, unless it is behind the failure.
    sendable: VecDeque<Number>,
    sent: usize,
    bytes: usize,
    /// The first failure: its record gets the error, all behind it are halted.
    failure: Option<(Number, Error)>,
    calls: VecDeque<Call>,
    halted: bool,
}

struct Entry {
    key: Arc<str>,
    /// Until it is sent.
    message: Option<Message>,
    bytes: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
    Confirmed,
}

struct Call {
    results: Vec<Result<Receipt>>,
    records: usize,
    reply: Reply,
}

impl Window {
    pub(super) fn is_halted(&self) -> bool {
        self.halted
    }

    /// How many are with the broker.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// How many have no result, and how large they are.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Allows records again after a failure. Nothing is held then.
    pub(super) fn resume(&mut self) {
        self.halted = false;
    }

    /// Takes the records of a call.
    pub(super) fn accept(&mut self, records: Vec<Offered>, reply: Reply) {
        self.calls.push_back(Call { results: Vec::new(), records: records.len(), reply });
        for Offered { key, message } in records {
            let number = self.first + self.entries.len() as Number;
            let message = match message {
                Ok(message) => Some(message),
                Err(error) => {
                    self.failed(number, error);
                    None
                }
            };
            match self.followers.get_mut(&key) {
                Some(followers) => followers.push_back(number),
                None => {
                    self.followers.insert(Arc::clone(&key), VecDeque::new());
                    self.sendable.push_back(number);
                }
            }
            let bytes = message.as_ref().map_or(0, |message| message.body.len());
            self.bytes += bytes;
            self.entries.push_back(Entry { key, message, bytes, state: State::Waiting });
        }
        if self.halted {
            self.fail_all(None, true);
        }
        self.advance();
    }

    /// The next record to send.
    pub(super) fn next(&mut self) -> Option<(Number, Message)> {
        let number = *self.sendable.front()?;
        // In order of handing over per key only: one behind the failure stays, and so may others.
        if self.failure.as_ref().is_some_and(|(failed, _)| number >= *failed) {
            self.sendable.pop_front();
            return self.next();
        }
        self.sendable.pop_front();
        let entry = self.entry(number)?;
        let message = entry.message.take()?;
        entry.state = State::Sent;
        self.sent += 1;
        Some((number, message))
    }

    /// The broker has it.
    pub(super) fn confirmed(&mut self, number: Number) {
        let Some(entry) = self.entry(number) else { return };
        entry.state = State::Confirmed;
        let key = Arc::clone(&entry.key);
        self.sent -= 1;
        match self.followers.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(next) => self.sendable.push_back(next),
            None => drop(self.followers.remove(&key)),
        }
    }

    /// The broker doesn't have it, and nothing behind it counts.
    pub(super) fn failed(&mut self, number: Number, error: Error) {
        if self.failure.as_ref().is_none_or(|(failed, _)| number < *failed) {
            self.failure = Some((number, error));
        }
    }

    /// Gives the results that are certain. Says whether a failure was among them.
    pub(super) fn advance(&mut self) {
        loop {
            if self.failure.as_ref().is_some_and(|(failed, _)| *failed == self.first) {
                let error = self.failure.take().map(|(_, error)| error);
                self.fail_all(error.map(|error| (self.first, error)), false);
                return;
            }
            if self.entries.front().is_none_or(|entry| entry.state != State::Confirmed) {
                return;
            }
            self.resolve(Ok(Receipt::unnumbered()));
        }
    }

    /// Gives up on all that is held: `culprit` gets its error, the others are halted.
    pub(super) fn fail_all(&mut self, culprit: Option<(Number, Error)>, unsent: bool) {
        self.halted = true;
        self.failure = None;
        let mut culprit = culprit;
        while let Some(entry) = self.entries.front() {
            let known_not_sent = unsent || entry.state == State::Waiting;
            let error = match culprit.take_if(|(number, _)| *number == self.first) {
                Some((_, error)) => error,
                None if known_not_sent => halted(),
                None => halted().with_retry(Retry::OutcomeUnknown),
            };
            self.resolve(Err(error));
        }
        self.followers.clear();
        self.sendable.clear();
        self.sent = 0;
    }

    /// The first record that has no result.
    pub(super) fn first(&self) -> Number {
        self.first
    }

    fn entry(&mut self, number: Number) -> Option<&mut Entry> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    fn resolve(&mut self, result: Result<Receipt>) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.first += 1;
        self.bytes -= entry.bytes;
        let Some(call) = self.calls.front_mut() else { return };
        call.results.push(result);
        if call.results.len() == call.records
            && let Some(Call { results, reply, .. }) = self.calls.pop_front()
        {
            // Nobody waits where the future was dropped.
            let _ = reply.send(results);
        }
    }
}

pub(super) fn halted() -> Error {
    Error::new(ErrorKind::Halted, PUBLISH).detail("an earlier record failed")
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;

    use super::*;

    fn offered(key: &str) -> Offered {
        let message = Message {
            exchange: "".into(),
            routing_key: key.into(),
            properties: BasicProperties::default(),
            body: bytes::Bytes::from_static(b"x"),
        };
        Offered { key: key.into(), message: Ok(message) }
    }

    fn accept(window: &mut Window, keys: &[&str]) -> oneshot::Receiver<Vec<Result<Receipt>>> {
        let (reply, results) = oneshot::channel();
        window.accept(keys.iter().map(|key| offered(key)).collect(), reply);
        results
    }

    fn sendable(window: &mut Window) -> Vec<Number> {
        std::iter::from_fn(|| window.next()).map(|(number, _)| number).collect()
    }

    fn kinds(results: &[Result<Receipt>]) -> Vec<Option<ErrorKind>> {
        results.iter().map(|result| result.as_ref().err().map(Error::kind)).collect()
    }

    fn broken() -> Error {
        Error::new(ErrorKind::TopicUnavailable, PUBLISH)
    }

    #[test]
    fn the_next_of_a_key_follows_the_confirm_of_the_one_before() {
        let mut window = Window::default();
        let mut results = accept(&mut window, &["a", "a", "b", "a"]);
        assert_eq!(sendable(&mut window), [0, 2]);
        window.confirmed(2);
        assert!(sendable(&mut window).is_empty());
        window.confirmed(0);
        assert_eq!(sendable(&mut window), [1]);
        window.advance();
        assert!(results.try_recv().is_err(), "not all of the call is there");
        window.confirmed(1);
        assert_eq!(sendable(&mut window), [3]);
        window.confirmed(3);
        window.advance();
        assert_eq!(kinds(&results.try_recv().unwrap()), [None; 4]);
        assert_eq!((window.held(), window.sent()), ((0, 0), 0));
    }

    #[test]
    fn nothing_behind_a_failure_is_acknowledged_even_when_it_was_confirmed_before() {
        let mut window = Window::default();
        let (mut one, mut two) =
            (accept(&mut window, &["a", "b"]), accept(&mut window, &["c", "b"]));
        assert_eq!(sendable(&mut window), [0, 1, 2]);
        window.confirmed(2);
        window.failed(1, broken());
        window.advance();
        assert!(one.try_recv().is_err(), "the one before the failure is still on its way");
        window.confirmed(0);
        window.advance();
        assert_eq!(kinds(&one.try_recv().unwrap()), [None, Some(ErrorKind::TopicUnavailable)]);
        let two = two.try_recv().unwrap();
        assert_eq!(kinds(&two), [Some(ErrorKind::Halted); 2]);
        let retries: Vec<_> = two.iter().map(|r| r.as_ref().unwrap_err().retry()).collect();
        assert_eq!(retries, [Retry::OutcomeUnknown, Retry::Later]);
        let mut later = accept(&mut window, &["z"]);
        assert_eq!(kinds(&later.try_recv().unwrap()), [Some(ErrorKind::Halted)]);
        window.resume();
        let mut again = accept(&mut window, &["b"]);
        assert_eq!(sendable(&mut window), [5]);
        window.confirmed(5);
        window.advance();
        assert_eq!(kinds(&again.try_recv().unwrap()), [None]);
    }

    #[test]
    fn what_is_before_a_record_that_is_refused_here_still_goes_out() {
        let mut window = Window::default();
        let (reply, mut results) = oneshot::channel();
        let refused = Offered { message: Err(broken()), ..offered("a") };
        let records = vec![offered("a"), offered("a"), refused, offered("b")];
        window.accept(records, reply);
        assert_eq!(sendable(&mut window), [0], "b is behind the refused one");
        window.confirmed(0);
        assert_eq!(sendable(&mut window), [1]);
        window.confirmed(1);
        assert!(sendable(&mut window).is_empty());
        window.advance();
        let expected = [None, None, Some(ErrorKind::TopicUnavailable), Some(ErrorKind::Halted)];
        assert_eq!(kinds(&results.try_recv().unwrap()), expected);
    }

    #[test]
    fn a_lost_connection_blames_one_and_halts_the_rest() {
        let mut window = Window::default();
        let mut results = accept(&mut window, &["a", "b", "c"]);
        assert_eq!(sendable(&mut window).len(), 3);
        window.fail_all(Some((1, broken())), false);
        let halted = Some(ErrorKind::Halted);
        let expected = [halted, Some(ErrorKind::TopicUnavailable), halted];
        assert_eq!(kinds(&results.try_recv().unwrap()), expected);
    }
}
