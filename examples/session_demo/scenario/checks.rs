//! Comparing the ledgers.

use std::collections::{BTreeMap, HashMap};

use relaybox::{EventId, OutboxStats};
use uuid::Uuid;

use super::{ledger::Effect, poison::DeadLetter};

/// What was seen, once all is quiet.
pub(crate) struct Evidence {
    /// By the driver: what it committed.
    pub(crate) committed: BTreeMap<EventId, (Uuid, i64)>,
    /// By the handlers: what they did, in order.
    pub(crate) effects: Vec<Effect>,
    /// What the dead letters say where they were given up on.
    pub(crate) origin: String,
    /// Given up on.
    pub(crate) dead_letters: BTreeMap<EventId, DeadLetter>,
    /// The event that the handlers refuse.
    pub(crate) poison: EventId,
    pub(crate) outbox: OutboxStats,
    pub(crate) stale_views: i64,
    pub(crate) published: u64,
    /// Deliveries that the inbox knew already.
    pub(crate) duplicates: u64,
    /// How many of those the demo has made, at least.
    pub(crate) expected_duplicates: u64,
}

/// Every promise that was not kept, a line each.
pub(crate) fn violations(evidence: &Evidence) -> Vec<String> {
    let mut violations = Vec::new();
    exactly_once(evidence, &mut violations);
    nothing_rolled_back(evidence, &mut violations);
    order_per_session(&evidence.effects, &mut violations);
    poison_in_dead_letters(evidence, &mut violations);
    all_of_it_happened(evidence, &mut violations);
    violations
}

fn exactly_once(evidence: &Evidence, violations: &mut Vec<String>) {
    let mut times: HashMap<Uuid, u64> = HashMap::new();
    for effect in &evidence.effects {
        *times.entry(effect.event_id).or_default() += 1;
    }
    for event in evidence.committed.keys() {
        let times = times.get(&event.as_uuid()).copied().unwrap_or(0);
        let expected = u64::from(*event != evidence.poison);
        if times != expected {
            violations.push(format!("{event} was handled {times} times, not {expected}"));
        }
    }
}

/// The same from the other side: whatever was handled was committed, as what it is.
fn nothing_rolled_back(evidence: &Evidence, violations: &mut Vec<String>) {
    for effect in &evidence.effects {
        let id = EventId::from_uuid(effect.event_id);
        match evidence.committed.get(&id) {
            None => violations.push(format!("{id} was handled, and never committed")),
            Some(place) if *place != (effect.session_id, effect.version) => {
                violations.push(format!("{id} was handled as something else than was committed"));
            }
            Some(_) => {}
        }
    }
}

fn order_per_session(effects: &[Effect], violations: &mut Vec<String>) {
    let mut latest: HashMap<Uuid, i64> = HashMap::new();
    for Effect { session_id, version, .. } in effects {
        if let Some(before) = latest.insert(*session_id, *version)
            && before >= *version
        {
            violations.push(format!("session {session_id}: version {version} after {before}"));
        }
    }
}

fn poison_in_dead_letters(evidence: &Evidence, violations: &mut Vec<String>) {
    let Evidence { dead_letters, poison, .. } = evidence;
    match dead_letters.get(poison) {
        None => violations.push(format!("the poison {poison} is not among the dead letters")),
        Some(letter) => {
            if letter.copies != 1 {
                violations.push(format!("the poison is {} times a dead letter", letter.copies));
            }
            if letter.original_topic.as_deref() != Some(evidence.origin.as_str())
                || !letter
                    .reason
                    .as_deref()
                    .is_some_and(|reason| reason.contains("browser/version"))
            {
                violations.push("the dead letter doesn't say where it is from and why".to_owned());
            }
        }
    }
    for event in dead_letters.keys().filter(|event| *event != poison) {
        violations.push(format!("{event} is a dead letter, and should not be"));
    }
}

/// Checks that what the demo is about took place, so that the checks above mean something.
fn all_of_it_happened(evidence: &Evidence, violations: &mut Vec<String>) {
    let Evidence { outbox, stale_views, published, .. } = evidence;
    if outbox.backlog + outbox.dead_letters + outbox.parked > 0 {
        violations.push(format!(
            "the outbox is not empty: {} waiting, {} given up on, {} parked",
            outbox.backlog, outbox.dead_letters, outbox.parked
        ));
    }
    if *stale_views != 0 {
        violations.push(format!("the read model shows {stale_views} sessions as they are not"));
    }
    if *published < evidence.committed.len() as u64 {
        violations.push(format!("only {published} events were published"));
    }
    if evidence.duplicates < evidence.expected_duplicates {
        violations.push(format!("only {} repeats were delivered", evidence.duplicates));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "session-events.v1";

    fn evidence() -> Evidence {
        let session_id = Uuid::now_v7();
        let ids = [EventId::new(), EventId::new(), EventId::new()];
        let committed: BTreeMap<_, _> =
            ids.into_iter().zip(1..).map(|(id, version)| (id, (session_id, version))).collect();
        let letter = DeadLetter {
            original_topic: Some(ORIGIN.to_owned()),
            reason: Some("not of the form browser/version".to_owned()),
            copies: 1,
        };
        Evidence {
            effects: committed
                .iter()
                .skip(1)
                .map(|(id, (session_id, version))| Effect {
                    event_id: id.as_uuid(),
                    session_id: *session_id,
                    version: *version,
                })
                .collect(),
            committed,
            origin: ORIGIN.to_owned(),
            dead_letters: BTreeMap::from([(ids[0], letter)]),
            poison: ids[0],
            outbox: OutboxStats::default(),
            stale_views: 0,
            published: 3,
            duplicates: 1,
            expected_duplicates: 1,
        }
    }

    #[test]
    fn a_broken_promise_is_a_violation() {
        assert_eq!(violations(&evidence()), [""; 0]);
        let breakages: [(&str, fn(&mut Evidence)); 7] = [
            ("an effect twice", |e| e.effects.push(e.effects[1].clone())),
            ("an effect lost", |e| drop(e.effects.pop())),
            ("an effect of nothing committed", |e| {
                e.effects.push(Effect {
                    event_id: Uuid::now_v7(),
                    session_id: Uuid::nil(),
                    version: 1,
                });
            }),
            ("out of order", |e| e.effects.reverse()),
            ("no dead letter", |e| e.dead_letters.clear()),
            ("two dead letters", |e| e.dead_letters.values_mut().for_each(|l| l.copies = 2)),
            ("unpublished", |e| e.outbox.backlog = 1),
        ];
        for (what, break_it) in breakages {
            let mut evidence = evidence();
            break_it(&mut evidence);
            assert!(!violations(&evidence).is_empty(), "{what}");
        }
    }
}
