//! Writing for a redrive: letters, and notes about them.

use rdkafka::message::{Header, OwnedHeaders};
use relaybox_core::{ConsumerDeadLetter, Result, TopicName};

use super::{
    KafkaRedrive, REDRIVE,
    mark::{self, Fate},
};
use crate::{
    client::{Monitor, off_thread},
    dead_letter,
    producer::{Outgoing, Producer},
};

/// Sends letters back and notes it.
pub(super) struct Postman {
    producer: Producer,
    origin: TopicName,
    dead_letters: TopicName,
}

impl Postman {
    pub(super) async fn start(redrive: &KafkaRedrive) -> Result<Self> {
        let settings = dead_letter::settings(&redrive.config)?;
        let monitor = Monitor::new(&redrive.config);
        let producer =
            off_thread(REDRIVE, move || Producer::start(REDRIVE, &settings, monitor)).await?;
        let dead_letters = crate::dead_letter_topic(&redrive.topic)?;
        Ok(Self { producer, origin: redrive.topic.clone(), dead_letters })
    }

    /// Sends letters back, and waits until the broker has them.
    pub(super) async fn send(&mut self, letters: &[ConsumerDeadLetter]) -> Result<()> {
        let topic = self.origin.as_str();
        let records: Vec<_> = letters.iter().map(|letter| returned(letter, topic)).collect();
        deliver(&mut self.producer, records).await
    }

    /// Notes what became of letters of one partition of the dead-letter topic.
    pub(super) async fn note(
        &mut self,
        number: i32,
        fate: Fate,
        letters: &[ConsumerDeadLetter],
    ) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let offsets: Vec<_> = letters.iter().map(|letter| letter.delivery.offset).collect();
        let mark = Outgoing {
            topic: self.dead_letters.as_str(),
            partition: Some(number),
            key: None,
            value: None,
            headers: mark::headers(fate, &offsets),
        };
        deliver(&mut self.producer, vec![mark]).await
    }
}

async fn deliver(producer: &mut Producer, records: Vec<Outgoing<'_>>) -> Result<()> {
    let results = producer.hand_over(records.into_iter());
    results.all().await.into_iter().try_for_each(|result| result.map(drop))
}

/// A letter as it was before it was given up on. Its key says which partition it belongs to.
fn returned<'a>(letter: &'a ConsumerDeadLetter, topic: &'a str) -> Outgoing<'a> {
    let mut headers = OwnedHeaders::new_with_capacity(letter.delivery.headers.len() + 1);
    for (key, value) in letter.redriven_headers() {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let (key, value) = (letter.delivery.key.as_deref(), letter.delivery.value.as_deref());
    Outgoing { topic, partition: None, key, value, headers }
}
