//! The consumer's side of [`ConsumerProcess`](crate::process::ConsumerProcess): a consumer of a Kafka
//! topic on Postgres that tells how far it is when its parent asks, and ends with its parent.

use std::process::ExitCode;

use relaybox::{CancellationToken, ConsumerName, TopicName, postgres::PgProcessedEvents};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::mpsc;

use crate::{
    handler::Insert,
    library,
    progress::Progress,
    support::{
        PARTITIONS,
        database::connect,
        parent::{commands, say},
    },
};

/// What to consume: the first line on stdin.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) server: String,
    pub(crate) database: String,
    pub(crate) brokers: String,
    pub(crate) topic: TopicName,
    pub(crate) group: ConsumerName,
}

pub(crate) async fn run() -> ExitCode {
    let mut commands = commands();
    let Some(job) = commands.recv().await else { return ExitCode::FAILURE };
    let job: Job = serde_json::from_str(&job).unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(PARTITIONS.unsigned_abs())
        .connect_with(connect(&job.server, &job.database))
        .await
        .unwrap();
    let source = library::source(&job.brokers, &job.topic, job.group);
    let (progress, shutdown) = (Progress::default(), CancellationToken::new());
    let consumer = library::consumer(source, PgProcessedEvents::new(pool), Insert, &progress);
    let mut consumer = tokio::spawn(consumer.run(shutdown.clone()));
    tokio::select! {
        () = obey(&mut commands, &progress) => {}
        ended = &mut consumer => panic!("the consumer ended: {ended:?}"),
    }
    shutdown.cancel();
    consumer.await.unwrap().unwrap();
    say("stopped");
    ExitCode::SUCCESS
}

/// Does what the parent says until it says `stop`.
async fn obey(commands: &mut mpsc::UnboundedReceiver<String>, progress: &Progress) {
    while let Some(command) = commands.recv().await {
        match command.as_str() {
            "report" => say(&serde_json::to_string(&progress.positions()).unwrap()),
            "stop" => return,
            other => panic!("{other}?"),
        }
    }
}
