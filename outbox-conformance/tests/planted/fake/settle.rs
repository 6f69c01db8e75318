//! Settling.

use std::sync::Arc;

use relaybox_core::{DeadLetterState, EventRef, Lease, Origin, Result, Settled, Settlement};

use super::database::{Dead, Shared, State};
use crate::bug::Bug;

pub(super) async fn settle(
    shared: &Arc<Shared>,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let mut later = Vec::new();
    {
        let mut state = shared.lock();
        if let Err(lost) = shared.check(&state, lease) {
            if shared.has(Bug::ArchivedWithoutTheLease) {
                state.archive_unasked(shared, settlement);
            }
            return if shared.has(Bug::LostSettleReportsSuccess) { Ok(settled) } else { Err(lost) };
        }
        for published in &settlement.published {
            let mut event = published.event;
            if shared.has(Bug::SettledByNumber)
                && let Some(row) = state.rows.get(&event.position)
            {
                event.event_id = row.envelope.event_id;
            }
            let taken = state.take(&event);
            settled.published += u64::from(taken.is_some());
            if !shared.has(Bug::ArchivedInAnotherTransaction) {
                state.archive(shared, published, taken);
            } else if let Some(letter) = taken {
                later.push((published, letter));
            }
        }
        if !shared.has(Bug::SettledByHalves) {
            state.move_letters(shared, settlement, &mut settled);
        }
    }
    if !later.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let mut state = shared.lock();
        for (published, letter) in later {
            state.archive(shared, published, Some(letter));
        }
    }
    if shared.has(Bug::SettledByHalves) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        shared.lock().move_letters(shared, settlement, &mut settled);
    }
    if shared.has(Bug::RowCountIgnored) {
        let [published, parked, dead] =
            [settlement.published.len(), settlement.parked.len(), settlement.dead.len()]
                .map(|count| count as u64);
        return Ok(Settled::new(published, parked, dead));
    }
    Ok(settled)
}

impl State {
    fn archive_unasked(&mut self, shared: &Shared, settlement: &Settlement) {
        for published in &settlement.published {
            let found = self.look(&published.event);
            self.archive(shared, published, found);
        }
    }

    fn move_letters(&mut self, shared: &Shared, settlement: &Settlement, settled: &mut Settled) {
        for event in &settlement.parked {
            if let Some(letter) = self.take(event) {
                let letter = Dead { state: DeadLetterState::Parked, ..letter };
                self.dead.insert(event.position, letter);
                settled.parked += 1;
            }
        }
        for given_up in &settlement.dead {
            let event = &given_up.event;
            let letter = if shared.has(Bug::DeadLetterKeepsEvent) {
                self.look(event)
            } else {
                self.take(event)
            };
            if let Some(mut letter) = letter {
                letter.state = DeadLetterState::Dead;
                letter.reason = Some(given_up.reason.clone());
                letter.attempts += given_up.attempts;
                self.dead.insert(event.position, letter);
                settled.dead += 1;
            }
        }
    }

    fn look(&self, event: &EventRef) -> Option<Dead> {
        match event.origin {
            Origin::Outbox => {
                let row = self.rows.get(&event.position)?;
                let known = row.envelope.event_id == event.event_id;
                known.then(|| Dead::parked(row.envelope.clone(), row.spoilt, row.since))
            }
            Origin::DeadLetter => self.dead.get(&event.position).cloned(),
        }
    }

    fn take(&mut self, event: &EventRef) -> Option<Dead> {
        let letter = self.look(event)?;
        match event.origin {
            Origin::Outbox => drop(self.rows.remove(&event.position)),
            Origin::DeadLetter => drop(self.dead.remove(&event.position)),
        }
        Some(letter)
    }
}
