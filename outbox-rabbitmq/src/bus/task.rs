//! The task that owns a bus's channel.

use std::{collections::HashMap, sync::Arc};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, Connection, types::ShortString};
use relaybox_core::{Error, ErrorKind, Record, Result, Retry, TopicName};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    PUBLISH, Settings,
    window::{Number, Offered, Reply, Window},
};
use crate::{
    RabbitConfig,
    connection::{self, confirming, connect},
    error,
    message::{self, Message},
    publisher::{MANDATORY, nacked},
};

/// What the bus asks of its task, in order.
pub(super) enum Command {
    Publish(Vec<Record>, Reply),
    Recover(oneshot::Sender<Result<()>>),
}

pub(super) struct Task {
    config: RabbitConfig,
    exchange: TopicName,
    settings: Settings,
    connection: Option<Connection>,
    channel: Option<Channel>,
    window: Window,
    flights: FuturesUnordered<Flight>,
    /// What is known of the records that are with the broker.
    away: HashMap<Number, Away>,
    /// When the broker last confirmed something, or had nothing to confirm.
    heard: Instant,
}

type Flight = BoxFuture<'static, (Number, lapin::Result<Confirmation>)>;

struct Away {
    /// By which a message that is returned is known.
    message_id: Option<ShortString>,
    routing_key: ShortString,
    bytes: usize,
}

impl Task {
    pub(super) fn new(config: RabbitConfig, exchange: TopicName, settings: Settings) -> Self {
        Self {
            config,
            exchange,
            settings,
            connection: None,
            channel: None,
            window: Window::default(),
            flights: FuturesUnordered::new(),
            away: HashMap::new(),
            heard: Instant::now(),
        }
    }

    /// Works until the bus is gone. Then what is in flight is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            self.send().await;
            let silent_until = self.heard + self.settings.confirm_timeout;
            tokio::select! {
                biased;
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => {
                    self.land(landed);
                }
                command = commands.recv() => match command {
                    Some(Command::Publish(records, reply)) => self.accept(records, reply),
                    Some(Command::Recover(reply)) => {
                        // Whoever asked may have given up waiting.
                        let _ = reply.send(self.recover().await);
                    }
                    None => break,
                },
                () = tokio::time::sleep_until(silent_until), if !self.flights.is_empty() => {
                    self.lost(Error::new(ErrorKind::Unavailable, PUBLISH)
                        .detail("the broker doesn't confirm; is it short of memory or disk?")
                        .with_retry(Retry::OutcomeUnknown));
                }
            }
        }
        if let Some(connection) = &self.connection {
            let _ = connection::close(PUBLISH, connection).await;
        }
    }

    fn accept(&mut self, records: Vec<Record>, reply: Reply) {
        let (mut count, mut bytes) = self.window.held();
        let records = records.iter().map(|record| {
            count += 1;
            bytes += record.envelope.payload.len();
            let message = if record.envelope.payload.len() > self.settings.max_message_bytes {
                Err(Error::new(ErrorKind::TooLarge, PUBLISH).detail(format!(
                    "the payload has {} bytes, more than the bus's limit of {}",
                    record.envelope.payload.len(),
                    self.settings.max_message_bytes
                )))
            } else if count > self.settings.queue_records || bytes > self.settings.queue_bytes {
                Err(Error::new(ErrorKind::Unavailable, PUBLISH).detail("the bus's queue is full"))
            } else {
                Ok(message::of_event(record, &self.exchange, app_id(record, &self.config)))
            };
            Offered { key: Arc::from(record.envelope.key().as_str()), message }
        });
        self.window.accept(records.collect(), reply);
    }

    /// Sends what may be sent, on a connection that is made when it is first needed.
    async fn send(&mut self) {
        while self.window.sent() < self.settings.in_flight {
            let Some((number, message)) = self.window.next() else { return };
            let channel = match &self.channel {
                Some(channel) => channel.clone(),
                None => match self.open().await {
                    Ok(channel) => channel,
                    Err(error) => return self.lost(error),
                },
            };
            if self.flights.is_empty() {
                self.heard = Instant::now();
            }
            let Message { exchange, routing_key, properties, body } = message;
            self.away.insert(
                number,
                Away {
                    message_id: properties.message_id().clone(),
                    routing_key: routing_key.clone(),
                    bytes: body.len(),
                },
            );
            let flight = async move {
                let published =
                    channel.basic_publish(exchange, routing_key, MANDATORY, &body, properties);
                let confirmed = match published.await {
                    Ok(confirm) => confirm.await,
                    Err(error) => Err(error),
                };
                (number, confirmed)
            };
            self.flights.push(flight.boxed());
        }
    }

    async fn open(&mut self) -> Result<Channel> {
        let connection = match self.connection.take().filter(|c| c.status().connected()) {
            Some(connection) => connection,
            None => connect(PUBLISH, &self.config, "bus").await?,
        };
        let channel = confirming(PUBLISH, &connection).await?;
        (self.connection, self.channel) = (Some(connection), Some(channel.clone()));
        Ok(channel)
    }

    /// Takes in what the broker said.
    ///
    /// lapin attaches a returned message to the next confirm that it sees, and a confirm of several
    /// resolves them in any order: so the returned record is known by its message id, and all that has
    /// arrived is looked at before anything counts as confirmed. The one that carries the message is
    /// always resolved before the returned one is.
    fn land(&mut self, first: (Number, lapin::Result<Confirmation>)) {
        self.heard = Instant::now();
        let mut confirmed = Vec::new();
        let mut returned = Vec::new();
        let mut next = Some(first);
        while let Some((number, result)) = next {
            match result {
                Ok(Confirmation::Ack(message)) => {
                    confirmed.push(number);
                    returned.extend(message.map(|message| message.properties.message_id().clone()));
                }
                Ok(Confirmation::Nack(message)) => {
                    returned.extend(message.map(|message| message.properties.message_id().clone()));
                    self.window.failed(number, nacked(PUBLISH));
                }
                Ok(Confirmation::NotRequested) => self.window.failed(number, nacked(PUBLISH)),
                Err(error) => {
                    self.settle(&confirmed, &returned);
                    return self.closed(&error);
                }
            }
            next = self.flights.next().now_or_never().flatten();
        }
        self.settle(&confirmed, &returned);
    }

    fn settle(&mut self, confirmed: &[Number], returned: &[Option<ShortString>]) {
        if !returned.is_empty() {
            for (number, away) in &self.away {
                if returned.contains(&away.message_id) {
                    let error = Error::new(ErrorKind::TopicUnavailable, PUBLISH).detail(format!(
                        "no queue is bound to the exchange {} for the routing key {}",
                        self.exchange, away.routing_key
                    ));
                    self.window.failed(*number, error);
                }
            }
        }
        for number in confirmed {
            self.away.remove(number);
            self.window.confirmed(*number);
        }
        self.window.advance();
        if self.window.is_halted() {
            self.forget();
        }
    }

    /// The channel or the connection is gone: no confirm will come any more.
    fn closed(&mut self, error: &lapin::Error) {
        self.window.advance();
        let culprit = self.culprit(&error::text(error));
        self.window.fail_all(Some((culprit, error::convert(PUBLISH, error.clone()))), false);
        self.forget();
    }

    /// Whom the broker means: it names the size or the routing key of what it refused. Else the first.
    fn culprit(&self, reply: &str) -> Number {
        let named = |away: &Away| {
            reply.contains(&format!("message size {} ", away.bytes))
                || reply.contains(&format!("'{}'", away.routing_key))
        };
        let away = self.away.iter().filter(|(_, away)| named(away));
        away.map(|(number, _)| *number).min().unwrap_or_else(|| self.window.first())
    }

    fn lost(&mut self, error: Error) {
        self.window.fail_all(Some((self.window.first(), error)), false);
        self.forget();
    }

    /// Drops what is in flight, and the channel with it.
    fn forget(&mut self) {
        self.flights.clear();
        self.away.clear();
        self.channel = None;
    }

    async fn recover(&mut self) -> Result<()> {
        self.window.fail_all(None, false);
        let old = self.channel.take();
        self.forget();
        if let Some(old) = old {
            // So that nothing of it arrives behind what is published next. It need not succeed.
            let _ = connection::close_channel(PUBLISH, &old).await;
        }
        self.open().await?;
        self.window.resume();
        Ok(())
    }
}

/// The service that raised it, where it says.
fn app_id<'a>(record: &'a Record, config: &'a RabbitConfig) -> &'a str {
    let source = record.envelope.metadata.source.as_str();
    if source.is_empty() { config.name() } else { source }
}
