//! What relays gave up on, in the outbox's tables.

use std::sync::Arc;

use relaybox::{
    AggregateId, AggregateType, DeadLetter, DeadLetterQuery, DeadLetterState, EventId,
    Successors as CoreSuccessors,
};
use serde_json::json;

use super::{
    confirm::confirm,
    details::Details,
    selection::{by_aggregate, is_dead},
    view::{self, LetterView},
};
use crate::{
    args::{Discard, Filter, Redrive, Successors},
    error::CliError,
    output,
    store::OutboxTables,
};

/// How many letters are looked through: for what the store itself can't select by, or to say what its
/// statement would do. They come with their payloads.
const LOOKED_THROUGH: u32 = 10_000;
/// How many of those that something would be done to are shown.
const SHOWN: usize = 20;
/// How many events a statement names.
const CHUNK: usize = 500;

/// The outbox's dead letters.
pub(super) struct OutboxLetters {
    outbox: Arc<dyn OutboxTables>,
}

/// The first letters of those that match.
struct Looked {
    letters: Vec<DeadLetter>,
    /// Whether there are more of them than were looked through.
    more: bool,
}

/// What a redrive or a discard is about.
struct Selected<'a> {
    /// Those that match.
    matching: Vec<&'a DeadLetter>,
    /// Those that something is done to: in a redrive the ones before them, too, in a discard the ones
    /// behind.
    affected: Vec<&'a DeadLetter>,
    /// Whether there may be others, beyond what was looked through.
    more: bool,
}

impl OutboxLetters {
    pub(super) fn new(outbox: Arc<dyn OutboxTables>) -> Self {
        Self { outbox }
    }

    pub(super) async fn list(
        &self,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<LetterView>, CliError> {
        let query = filter.outbox_query()?;
        if filter.is_the_stores() {
            let letters = self.outbox.dead_letters(&query.limit(limit)).await?;
            return Ok(letters.iter().map(LetterView::of_outbox).collect());
        }
        let looked = self.look(query).await?;
        let matching = looked.letters.iter().filter(|letter| filter.matches(letter));
        let views: Vec<_> = matching.take(limit as usize).map(LetterView::of_outbox).collect();
        if looked.more && views.len() < limit as usize {
            // A list has no room for it, least of all in JSON.
            eprintln!("relaybox: {}", beyond());
        }
        Ok(views)
    }

    pub(super) async fn details(
        &self,
        filter: &Filter,
        payload: Option<usize>,
    ) -> Result<Vec<Details>, CliError> {
        let looked = self.look(filter.outbox_query()?).await?;
        Ok(looked.letters.iter().map(|letter| Details::of_outbox(letter, payload)).collect())
    }

    pub(super) async fn redrive(&self, args: &Redrive) -> Result<(), CliError> {
        for (option, given) in
            [("--marks-kept", args.marks_kept.is_some()), ("--force", args.force)]
        {
            if given {
                return Err(CliError::Config(format!(
                    "{option} is for the dead letters of consumers: say --topic or --queue, too"
                )));
            }
        }
        let mut query = args.filter.outbox_query()?;
        // The store's own statement serves any number; what only we can select by is looked through.
        if args.filter.is_the_stores() && !args.dry_run {
            query.limit = args.limit;
            let flagged = self.outbox.redrive(&query).await?;
            return redriven(args, flagged, None);
        }
        let looked = self.context(&args.filter).await?;
        let selected = to_redrive(&looked, &args.filter, args.limit);
        if args.dry_run {
            return redriven(args, selected.affected.len() as u64, Some(&selected));
        }
        let mut flagged = 0;
        for ids in ids(&selected.matching).chunks(CHUNK) {
            flagged += self.outbox.redrive(&of_events(ids)).await?;
        }
        redriven(args, flagged, Some(&selected))
    }

    pub(super) async fn discard(&self, args: &Discard) -> Result<(), CliError> {
        let mut query = args.filter.outbox_query()?;
        let Some(successors) = args.successors else {
            return Err(CliError::Config(
                "--successors is needed: say what becomes of the events parked behind them, release \
                 or discard"
                    .to_owned(),
            ));
        };
        let (with_successors, successors) = match successors {
            Successors::Release => (false, CoreSuccessors::Release),
            Successors::Discard => (true, CoreSuccessors::Discard),
        };
        // Who says so beforehand has any number discarded.
        if args.filter.is_the_stores() && args.yes && !args.dry_run {
            query.limit = args.limit;
            let discarded = self.outbox.discard(&query, successors).await?;
            return discarded_some(args, discarded, None);
        }
        let looked = self.context(&args.filter).await?;
        let selected = to_discard(&looked, &args.filter, args.limit, with_successors);
        let count = selected.affected.len();
        if args.dry_run {
            return discarded_some(args, count as u64, Some(&selected));
        }
        if count == 0 {
            return discarded_some(args, 0, Some(&selected));
        }
        confirm(&format!("Discard {count} events of the outbox for good?"), args.yes)?;
        let mut discarded = 0;
        // Those that were shown, whatever came since.
        for ids in ids(&selected.matching).chunks(CHUNK) {
            discarded += self.outbox.discard(&of_events(ids), successors).await?;
        }
        discarded_some(args, discarded, Some(&selected))
    }

    /// All letters of the aggregates that the filter is about.
    async fn context(&self, filter: &Filter) -> Result<Looked, CliError> {
        let found = self.look(filter.outbox_query()?).await?;
        if filter.events.is_empty() {
            return Ok(found);
        }
        let mut aggregates: Vec<(AggregateType, AggregateId)> = Vec::new();
        let mut context = Looked { letters: Vec::new(), more: found.more };
        for letter in found.letters {
            match &letter.envelope {
                Ok(envelope) => aggregates
                    .push((envelope.aggregate_type.clone(), envelope.aggregate_id.clone())),
                Err(_) => context.letters.push(letter),
            }
        }
        aggregates.sort();
        aggregates.dedup();
        for (aggregate_type, aggregate_id) in aggregates {
            let mut query = DeadLetterQuery::all();
            query.aggregate_type = Some(aggregate_type);
            query.aggregate_id = Some(aggregate_id);
            let looked = self.look(query).await?;
            context.letters.extend(looked.letters);
            context.more |= looked.more;
        }
        Ok(context)
    }

    /// The first of those that match, of whole aggregates as far as possible.
    async fn look(&self, query: DeadLetterQuery) -> Result<Looked, CliError> {
        let letters = self.outbox.dead_letters(&query.limit(LOOKED_THROUGH + 1)).await?;
        Ok(Looked::new(letters, LOOKED_THROUGH as usize))
    }
}

impl Looked {
    /// The first `max` letters, without the aggregate that is cut off there, unless it is the only one.
    fn new(mut letters: Vec<DeadLetter>, max: usize) -> Self {
        let more = letters.len() > max;
        if more {
            letters.truncate(max + 1);
            let last = by_aggregate(&letters).last().map_or(0, <[_]>::len);
            let whole = letters.len() - last;
            letters.truncate(if whole > 0 { whole } else { max });
        }
        Self { letters, more }
    }
}

/// What the store would flag, by its own rules: of those that match and that a flag would help the first
/// ones, and the dead ones before them.
fn to_redrive<'a>(looked: &'a Looked, filter: &Filter, limit: Option<u32>) -> Selected<'a> {
    let (mut matching, mut affected) = (Vec::new(), Vec::new());
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    for aggregate in by_aggregate(&looked.letters) {
        let helped = aggregate
            .iter()
            .enumerate()
            .filter(|(at, letter)| filter.matches(letter) && aggregate[..=*at].iter().any(is_dead));
        let chosen: Vec<_> = helped.take(limit - matching.len()).collect();
        if let Some((last, _)) = chosen.last() {
            affected.extend(aggregate[..=*last].iter().filter(|letter| is_dead(letter)));
        }
        matching.extend(chosen.into_iter().map(|(_, letter)| letter));
    }
    let more = looked.more && matching.len() < limit;
    Selected { matching, affected, more }
}

/// What the store would discard: those that match, and with their successors what is parked behind the
/// dead ones of them.
fn to_discard<'a>(
    looked: &'a Looked,
    filter: &Filter,
    limit: Option<u32>,
    with_successors: bool,
) -> Selected<'a> {
    let (mut matching, mut affected) = (Vec::new(), Vec::new());
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    for aggregate in by_aggregate(&looked.letters) {
        let mut behind = false;
        for letter in aggregate {
            let chosen = matching.len() < limit && filter.matches(letter);
            let parked = letter.state == DeadLetterState::Parked;
            if chosen {
                matching.push(letter);
            }
            if chosen || (with_successors && parked && behind) {
                affected.push(letter);
            }
            if !parked {
                behind = chosen;
            }
        }
    }
    let more = looked.more && matching.len() < limit;
    Selected { matching, affected, more }
}

fn ids(letters: &[&DeadLetter]) -> Vec<EventId> {
    letters.iter().map(|letter| letter.event_id).collect()
}

fn of_events(ids: &[EventId]) -> DeadLetterQuery {
    let mut query = DeadLetterQuery::all();
    query.event_ids = ids.to_vec();
    query
}

/// Says what a redrive did, or would do; `selected` is what was looked for here and not by the store.
fn redriven(args: &Redrive, count: u64, selected: Option<&Selected<'_>>) -> Result<(), CliError> {
    let more = selected.is_some_and(|selected| selected.more);
    if args.json {
        return output::json(
            &json!({ "dry_run": args.dry_run, "flagged": count, "complete": !more }),
        );
    }
    if args.dry_run {
        show(selected)?;
    }
    output::line(match args.dry_run {
        true => format!("{count} would be flagged for the relay to publish"),
        false => format!("{count} flagged for the relay to publish"),
    })?;
    if more { output::line(beyond()) } else { Ok(()) }
}

/// As [`redriven`], of a discard.
fn discarded_some(
    args: &Discard,
    count: u64,
    selected: Option<&Selected<'_>>,
) -> Result<(), CliError> {
    let more = selected.is_some_and(|selected| selected.more);
    if args.json {
        return output::json(
            &json!({ "dry_run": args.dry_run, "discarded": count, "complete": !more }),
        );
    }
    if args.dry_run {
        show(selected)?;
    }
    output::line(match args.dry_run {
        true => format!("{count} would be discarded"),
        false => format!("{count} discarded"),
    })?;
    if more { output::line(beyond()) } else { Ok(()) }
}

/// That this is not all there is.
fn beyond() -> String {
    format!(
        "only the first {LOOKED_THROUGH} letters were looked through, and there are more: say which with \
         --aggregate or --event"
    )
}

/// The first of them, and how many others there are.
fn show(selected: Option<&Selected<'_>>) -> Result<(), CliError> {
    let letters = selected.map_or(&[][..], |selected| &selected.affected);
    let views: Vec<_> =
        letters.iter().take(SHOWN).map(|letter| LetterView::of_outbox(letter)).collect();
    if views.is_empty() {
        return Ok(());
    }
    view::print(&views)?;
    match letters.len() - views.len() {
        0 => Ok(()),
        others => output::line(format!("and {others} more")),
    }
}
