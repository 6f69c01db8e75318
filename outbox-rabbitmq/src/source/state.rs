//! What a source holds, and what becomes of it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use lapin::{BasicProperties, Channel, Connection};
use relaybox_core::{Delivery, Error, ErrorKind, Offset, Partition, Received, Result, TopicName};
use tokio::time::Instant;

use crate::message;

pub(super) const ACKNOWLEDGE: &str = "acknowledge to RabbitMQ";

/// The queue as a partition: one for each subscription, numbered by its generation.
pub(super) struct State {
    queue: TopicName,
    generation: u64,
    live: Option<Live>,
    /// Told to whoever receives.
    news: VecDeque<News>,
    /// A revoked partition whose batch may still be worked on, and until when that is waited for.
    leaving: Option<(u64, Instant)>,
    handover: Duration,
    pub(super) closing: bool,
}

enum News {
    Revoked(Partition),
    Failed(Error),
}

/// A subscription, as long as its channel lives.
struct Live {
    connection: Arc<Connection>,
    channel: Channel,
    next_offset: Offset,
    /// In the broker's order.
    waiting: VecDeque<Held>,
    out: VecDeque<Held>,
    /// Whether anything of it was given out.
    known: bool,
}

/// A message that is not acknowledged.
struct Held {
    offset: Offset,
    tag: u64,
    properties: BasicProperties,
    body: Bytes,
}

impl State {
    pub(super) fn new(queue: TopicName, handover: Duration) -> Self {
        Self {
            queue,
            generation: 0,
            live: None,
            news: VecDeque::new(),
            leaving: None,
            handover,
            closing: false,
        }
    }

    /// Begins a subscription.
    pub(super) fn begin(&mut self, connection: Arc<Connection>, channel: Channel) {
        self.generation += 1;
        self.live = Some(Live {
            connection,
            channel,
            next_offset: 0,
            waiting: VecDeque::new(),
            out: VecDeque::new(),
            known: false,
        });
    }

    /// Ends it: what it held comes again, from the broker.
    pub(super) fn end(&mut self) {
        let Some(live) = self.live.take() else { return };
        if live.known {
            self.news.push_back(News::Revoked(self.partition()));
        }
    }

    /// Keeps an error for whoever receives: the last one, for it lasts until it is mended.
    pub(super) fn fail(&mut self, error: Error) {
        self.news.retain(|news| !matches!(news, News::Failed(_)));
        self.news.push_back(News::Failed(error));
    }

    pub(super) fn take_in(&mut self, delivery: lapin::message::Delivery) {
        let Some(live) = &mut self.live else { return };
        live.waiting.push_back(Held {
            offset: live.next_offset,
            tag: delivery.delivery_tag,
            properties: delivery.properties,
            body: delivery.data.into(),
        });
        live.next_offset += 1;
    }

    /// What to give out next, if there is anything.
    pub(super) fn next(&mut self, max: usize) -> Option<Result<Received>> {
        match self.news.pop_front() {
            Some(News::Revoked(partition)) => {
                self.leaving = Some((partition.generation, Instant::now() + self.handover));
                return Some(Ok(Received::Revoked(partition)));
            }
            Some(News::Failed(error)) => return Some(Err(error)),
            None => {}
        }
        if self.leaving.is_some_and(|(_, until)| until > Instant::now()) {
            return None;
        }
        self.leaving = None;
        let partition = self.partition();
        let live = self.live.as_mut()?;
        if !live.out.is_empty() || live.waiting.is_empty() {
            return None;
        }
        live.out = live.waiting.drain(..max.min(live.waiting.len())).collect();
        live.known = true;
        let read = |held: &Held| {
            message::read(partition.clone(), held.offset, &held.properties, held.body.clone())
        };
        let deliveries = live.out.iter().map(read).collect();
        Some(Ok(Received::Batch { partition, deliveries }))
    }

    /// Until when a revoked partition is waited for.
    pub(super) fn leaving_until(&self) -> Option<Instant> {
        self.leaving.map(|(_, until)| until)
    }

    /// Takes what is done with off the batch; gives what the broker is to be told.
    pub(super) fn acknowledge(
        &mut self,
        partition: &Partition,
        through: Offset,
    ) -> Result<Option<(Channel, u64)>> {
        let current = self.partition() == *partition;
        let Some(live) = self.live.as_mut().filter(|_| current) else {
            return Err(revoked());
        };
        let mut last = None;
        while live.out.front().is_some_and(|held| held.offset <= through) {
            last = live.out.pop_front().map(|held| held.tag);
        }
        Ok(last.map(|tag| (live.channel.clone(), tag)))
    }

    /// Puts the rest of a batch back, before what waits: it is given out next, in order.
    pub(super) fn release(&mut self, partition: &Partition) {
        if self.leaving.is_some_and(|(generation, _)| generation == partition.generation) {
            self.leaving = None;
        }
        if self.partition() != *partition {
            return;
        }
        if let Some(live) = &mut self.live {
            while let Some(held) = live.out.pop_back() {
                live.waiting.push_front(held);
            }
        }
    }

    /// The message as it came, while it is held.
    pub(super) fn original(&self, delivery: &Delivery) -> Option<BasicProperties> {
        if self.partition() != delivery.partition {
            return None;
        }
        let out = &self.live.as_ref()?.out;
        let held = out.iter().find(|held| held.offset == delivery.offset)?;
        Some(held.properties.clone())
    }

    /// The connection, and how many messages are held.
    pub(super) fn live(&self) -> Option<(Arc<Connection>, usize)> {
        let live = self.live.as_ref()?;
        Some((Arc::clone(&live.connection), live.waiting.len() + live.out.len()))
    }

    fn partition(&self) -> Partition {
        Partition::new(self.queue.clone(), 0, self.generation)
    }
}

pub(super) fn revoked() -> Error {
    Error::new(ErrorKind::Revoked, ACKNOWLEDGE)
        .detail("the connection it came over is gone: the broker delivers it again")
}
