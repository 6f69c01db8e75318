//! `relaybox dead-letters`: of the outbox's tables, of dead-letter topics and of dead-letter queues.

mod confirm;
mod consumer;
mod details;
mod outbox;
mod selection;
mod view;

use self::{consumer::ConsumerLetters, details::Details, outbox::OutboxLetters};
use crate::{
    args::{DeadLettersCommand, Filter, List, Show, Target},
    config::Config,
    error::CliError,
    output,
    store::{Open, Store},
};

pub(super) async fn run(config: &Config, command: DeadLettersCommand) -> Result<(), CliError> {
    match command {
        DeadLettersCommand::List(args) => list(config, &args).await,
        DeadLettersCommand::Show(args) => show(config, &args).await,
        DeadLettersCommand::Redrive(args) => match Letters::of(config, &args.target).await? {
            Letters::Outbox(letters) => letters.redrive(&args).await,
            Letters::Consumer(letters) => letters.redrive(&args).await,
        },
        DeadLettersCommand::Discard(args) => match Letters::of(config, &args.target).await? {
            Letters::Outbox(letters) => letters.discard(&args).await,
            Letters::Consumer(letters) => letters.discard(&args).await,
        },
    }
}

/// Who gave them up.
enum Letters {
    Outbox(OutboxLetters),
    Consumer(Box<ConsumerLetters>),
}

impl Letters {
    async fn of(config: &Config, target: &Target) -> Result<Self, CliError> {
        match ConsumerLetters::of(config, target)? {
            Some(letters) => Ok(Self::Consumer(Box::new(letters))),
            None => {
                let store = Store::open(config.store.as_ref(), Open::Now).await?;
                Ok(Self::Outbox(OutboxLetters::new(store.outbox)))
            }
        }
    }
}

async fn list(config: &Config, args: &List) -> Result<(), CliError> {
    let letters = match Letters::of(config, &args.target).await? {
        Letters::Outbox(letters) => letters.list(&args.filter, args.limit).await?,
        Letters::Consumer(letters) => letters.list(args).await?,
    };
    if args.json {
        return output::json(&letters);
    }
    if letters.is_empty() {
        return output::line("no dead letters");
    }
    let full = letters.len() == args.limit as usize;
    view::print(&letters)?;
    if full {
        output::line(format!("the first {}; --limit shows more", args.limit))?;
    }
    Ok(())
}

async fn show(config: &Config, args: &Show) -> Result<(), CliError> {
    let filter = Filter {
        events: args.event.into_iter().collect(),
        at: args.at.into_iter().collect(),
        ..Filter::default()
    };
    let bytes = args.payload.then_some(args.max_bytes);
    let found = match Letters::of(config, &args.target).await? {
        Letters::Outbox(letters) => letters.details(&filter, bytes).await?,
        Letters::Consumer(letters) => letters.details(&filter, bytes).await?,
    };
    if found.is_empty() {
        return Err(CliError::Refused("there is no such dead letter".to_owned()));
    }
    if args.json {
        return output::json(&found);
    }
    found.iter().try_for_each(Details::print)
}
