//! The positions below the last one read at which nothing was seen.
//!
//! A sequence gives a number before the row is there, and the rows of two transactions become visible
//! in the order of their commits. So a missing number is a transaction that is still open, or one that
//! was rolled back. Which of the two it is, the locks tell: a transaction holds a lock on the table
//! before it takes a number, and lets go of it after its rows can be seen. Whoever may own a gap is
//! therefore among those that hold the lock at some moment after the gap was seen, or has ended by
//! then. Once all of them are gone, a *later* look that still finds nothing proves a rollback.

use std::collections::BTreeMap;

/// More ranges than this are fused with their neighbours: each costs every read a look at the index.
const MAX_RANGES: usize = 1_000;

/// A transaction that holds the lock, as `pg_locks` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) name: String,
    /// It is prepared for a two-phase commit: it has no connection, and had another name before.
    pub(super) prepared: bool,
}

/// Those who hold the lock, and their transaction ids. One that has written nothing yet has none.
pub(super) type Holders = BTreeMap<Holder, Option<i64>>;

/// The gaps, as ranges, together with the ones who may own them.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    cohorts: Vec<Cohort>,
}

/// The gaps that were found by the same reads.
#[derive(Debug)]
struct Cohort {
    /// Ascending, apart, both ends included.
    ranges: Vec<(i64, i64)>,
    /// Who may own them; `None` until the locks were looked at after they were found.
    owners: Option<Holders>,
    /// A look has found nothing in them, and no owner had gone by then.
    quiet: bool,
}

/// A range, as a read needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) first: i64,
    pub(super) last: i64,
    /// Nothing can be there as long as none of [`Gaps::sleepers`] has ended.
    pub(super) asleep: bool,
}

impl Gaps {
    pub(super) fn is_empty(&self) -> bool {
        self.cohorts.is_empty()
    }

    /// All ranges, both ends included, ascending.
    pub(super) fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<_> = self
            .cohorts
            .iter()
            .flat_map(|cohort| {
                let asleep = cohort.is_asleep();
                cohort.ranges.iter().map(move |&(first, last)| Range { first, last, asleep })
            })
            .collect();
        ranges.sort_unstable();
        ranges
    }

    /// The transactions that own what is asleep. The rows of one that is open are looked through one
    /// by one, and it may have written a million: while all of them are open, a look is spared.
    pub(super) fn sleepers(&self) -> Vec<i64> {
        let asleep = self.cohorts.iter().filter(|cohort| cohort.is_asleep());
        let owners = asleep.filter_map(|cohort| cohort.owners.as_ref());
        let mut ids: Vec<_> =
            owners.flat_map(|owners| owners.values().flatten().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    pub(super) fn contains(&self, position: i64) -> bool {
        self.cohorts.iter().any(|cohort| find(&cohort.ranges, position).is_some())
    }

    /// Adds what is missing from `next` on, up to the last of the ascending positions `seen`.
    pub(super) fn find(&mut self, mut next: i64, seen: impl Iterator<Item = i64>) {
        let mut ranges = Vec::new();
        for position in seen {
            if position > next {
                ranges.push((next, position - 1));
            }
            next = position.saturating_add(1);
        }
        if !ranges.is_empty() {
            self.cohorts.push(Cohort { ranges, owners: None, quiet: false });
            self.bound();
        }
    }

    /// Takes out a position at which something was seen.
    pub(super) fn fill(&mut self, position: i64) {
        for cohort in &mut self.cohorts {
            let Some(at) = find(&cohort.ranges, position) else { continue };
            let (first, last) = cohort.ranges[at];
            let before = position.checked_sub(1).map(|last| (first, last));
            let behind = position.checked_add(1).map(|first| (first, last));
            let rest = [before, behind].into_iter().flatten().filter(|(first, last)| first <= last);
            cohort.ranges.splice(at..=at, rest);
        }
        self.drop_empty();
    }

    /// Takes note of a look that found nothing more in the gaps up to `covered`, and of who held the
    /// lock at some moment between that look's snapshot and now. Unless it was `woken`, it has not
    /// looked at what is asleep.
    pub(super) fn looked(&mut self, covered: i64, woken: bool, holders: &Holders) {
        for cohort in &mut self.cohorts {
            if cohort.is_asleep() && !woken {
                continue;
            }
            match &mut cohort.owners {
                // Nobody was left when this look began: what it did not find was rolled back.
                Some(owners) if owners.is_empty() => cohort.forget(covered),
                Some(owners) => {
                    let left = still_possible(owners, holders);
                    // One that is gone may have ended after this look's snapshot.
                    cohort.quiet = left.keys().eq(owners.keys()) && cohort.is_within(covered);
                    cohort.owners = Some(left);
                }
                None => cohort.owners = Some(holders.clone()),
            }
        }
        self.drop_empty();
    }

    /// Drops what is above `position`.
    pub(super) fn truncate(&mut self, position: i64) {
        for cohort in &mut self.cohorts {
            cohort.ranges.retain_mut(|(first, last)| {
                *last = (*last).min(position);
                first <= last
            });
        }
        self.drop_empty();
    }

    pub(super) fn clear(&mut self) {
        self.cohorts.clear();
    }

    fn drop_empty(&mut self) {
        self.cohorts.retain(|cohort| !cohort.ranges.is_empty());
    }

    /// Fuses neighbours until half of what is allowed is left.
    ///
    /// What lies between them is settled, on its way, or left where it is: it is known by its position
    /// when it comes back.
    fn bound(&mut self) {
        let count: usize = self.cohorts.iter().map(|cohort| cohort.ranges.len()).sum();
        if count <= MAX_RANGES {
            return;
        }
        let ranges = self.ranges().iter().map(|range| (range.first, range.last)).collect();
        // One that was not looked at since makes them all so.
        let owners = self.cohorts.iter().try_fold(Holders::new(), |mut all, cohort| {
            all.extend(cohort.owners.clone()?);
            Some(all)
        });
        let ranges = fuse(ranges, MAX_RANGES / 2);
        self.cohorts = vec![Cohort { ranges, owners, quiet: false }];
    }
}

impl Cohort {
    fn is_asleep(&self) -> bool {
        let all_known = |owners: &Holders| owners.values().all(Option::is_some);
        self.quiet && self.owners.as_ref().is_some_and(all_known)
    }

    fn is_within(&self, covered: i64) -> bool {
        self.ranges.last().is_none_or(|(_, last)| *last <= covered)
    }

    fn forget(&mut self, covered: i64) {
        self.ranges.retain_mut(|(first, last)| {
            *first = (*first).max(covered.saturating_add(1));
            first <= last && covered < i64::MAX
        });
    }
}

/// Who of `owners` still holds the lock, perhaps under another name.
fn still_possible(owners: &Holders, holders: &Holders) -> Holders {
    let is_owner = |holder: &Holder| owners.contains_key(holder);
    // One that is gone may have been prepared, and then stands there under a new name.
    let one_is_gone = owners.keys().any(|owner| !owner.prepared && !holders.contains_key(owner));
    holders
        .iter()
        .filter(|(holder, _)| is_owner(holder) || one_is_gone && holder.prepared)
        .map(|(holder, id)| (holder.clone(), *id))
        .collect()
}

/// The index of the range that contains `position`.
fn find(ranges: &[(i64, i64)], position: i64) -> Option<usize> {
    let at = ranges.partition_point(|(_, last)| *last < position);
    ranges.get(at).filter(|(first, _)| *first <= position).map(|_| at)
}

/// Closes the narrowest spaces between ascending ranges until at most `count` ranges are left.
fn fuse(ranges: Vec<(i64, i64)>, count: usize) -> Vec<(i64, i64)> {
    let space = |pair: &[(i64, i64)]| pair[1].0.saturating_sub(pair[0].1);
    let mut spaces: Vec<_> = ranges.windows(2).map(space).collect();
    spaces.sort_unstable();
    let closed = spaces.get(ranges.len().saturating_sub(count + 1)).copied().unwrap_or(0);
    let mut fused: Vec<(i64, i64)> = Vec::new();
    for (first, last) in ranges {
        match fused.last_mut() {
            Some(before) if first.saturating_sub(before.1) <= closed => {
                before.1 = before.1.max(last);
            }
            _ => fused.push((first, last)),
        }
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holders that have written nothing yet.
    fn holders(names: &[&str]) -> Holders {
        let holder = |name: &&str| {
            let prepared = name.starts_with('-');
            (Holder { name: (*name).to_owned(), prepared }, None)
        };
        names.iter().map(holder).collect()
    }

    fn ranges(gaps: &Gaps) -> Vec<(i64, i64)> {
        gaps.ranges().iter().map(|range| (range.first, range.last)).collect()
    }

    fn gap(range: (i64, i64)) -> Gaps {
        let mut gaps = Gaps::default();
        gaps.find(range.0, [range.1 + 1].into_iter());
        gaps
    }

    #[test]
    fn what_is_missing_between_positions_is_a_gap() {
        let mut gaps = Gaps::default();
        gaps.find(1, [1, 2, 5, 6, 9].into_iter());
        assert_eq!(ranges(&gaps), [(3, 4), (7, 8)]);
        assert!(gaps.contains(3) && gaps.contains(8) && !gaps.contains(5));
        gaps.fill(7);
        gaps.fill(3);
        assert_eq!(ranges(&gaps), [(4, 4), (8, 8)]);
        gaps.truncate(4);
        assert_eq!(ranges(&gaps), [(4, 4)]);
        gaps.fill(4);
        assert!(gaps.is_empty());
    }

    #[test]
    fn a_gap_is_forgotten_by_a_look_that_began_after_its_last_possible_owner_was_gone() {
        let mut gaps = gap((5, 5));
        gaps.looked(i64::MAX, true, &holders(&["3/1", "4/7"]));
        gaps.looked(i64::MAX, true, &holders(&["4/7", "9/9"]));
        // The owner is gone; but it may have committed after this look's snapshot.
        gaps.looked(i64::MAX, true, &holders(&["9/9"]));
        assert!(gaps.contains(5));
        gaps.looked(i64::MAX, true, &holders(&["9/9", "10/1"]));
        assert!(gaps.is_empty(), "those who came later can't own it");
    }

    #[test]
    fn a_look_that_did_not_reach_the_gap_proves_nothing() {
        let mut gaps = gap((5, 20));
        gaps.looked(i64::MAX, true, &holders(&[]));
        gaps.looked(3, true, &holders(&[]));
        assert_eq!(ranges(&gaps), [(5, 20)]);
        gaps.looked(7, true, &holders(&[]));
        assert_eq!(ranges(&gaps), [(8, 20)]);
    }

    #[test]
    fn an_owner_that_is_prepared_meanwhile_is_waited_for_under_its_new_name() {
        let mut gaps = gap((5, 5));
        gaps.looked(i64::MAX, true, &holders(&["3/1"]));
        gaps.looked(i64::MAX, true, &holders(&["-1/700"]));
        for _ in 0..3 {
            gaps.looked(i64::MAX, true, &holders(&["-1/700", "-1/701"]));
        }
        assert!(gaps.contains(5));
        gaps.looked(i64::MAX, true, &holders(&["-1/701"]));
        gaps.looked(i64::MAX, true, &holders(&["-1/701"]));
        assert!(gaps.is_empty(), "another one that came later can't own it");
    }

    #[test]
    fn the_number_of_ranges_is_bounded_and_none_is_lost() {
        let mut gaps = Gaps::default();
        for n in 0..5_000 {
            gaps.find(n * 10 + 1, [n * 10 + 5, n * 10 + 10].into_iter());
            gaps.looked(i64::MAX, true, &holders(&["3/1"]));
        }
        assert!(gaps.ranges().len() <= MAX_RANGES, "{}", gaps.ranges().len());
        assert!((0..5_000).all(|n| gaps.contains(n * 10 + 1) && gaps.contains(n * 10 + 9)));
    }

    #[test]
    fn a_gap_sleeps_while_all_its_owners_are_open_and_none_of_them_went_unseen() {
        let writer = |name: &str, id| (Holder { name: name.to_owned(), prepared: false }, id);
        let open = |id| Holders::from([writer("3/1", id), writer("4/7", Some(71))]);
        let mut gaps = gap((5, 9));
        let asleep = |gaps: &Gaps| gaps.ranges()[0].asleep;
        gaps.looked(i64::MAX, false, &open(None));
        assert!(!asleep(&gaps), "not looked at since the owners are known");
        gaps.looked(i64::MAX, false, &open(None));
        assert!(!asleep(&gaps), "of an owner without an id nobody knows when it ends");
        gaps.looked(7, false, &open(Some(70)));
        assert!(!asleep(&gaps), "the look did not reach its end");
        gaps.looked(i64::MAX, false, &open(Some(70)));
        assert!(asleep(&gaps));
        assert_eq!(gaps.sleepers(), [70, 71]);
        // Both are gone, but nobody has looked.
        gaps.looked(i64::MAX, false, &Holders::new());
        assert!(asleep(&gaps));

        gaps.looked(i64::MAX, true, &Holders::from([writer("4/7", Some(71))]));
        assert!(!asleep(&gaps), "the one that is gone may have ended after that look");
        gaps.looked(i64::MAX, false, &Holders::from([writer("4/7", Some(71))]));
        assert!(asleep(&gaps));
        gaps.looked(i64::MAX, true, &Holders::new());
        gaps.looked(i64::MAX, false, &Holders::new());
        assert!(gaps.is_empty());
    }

    #[test]
    fn the_ends_of_the_numbers_are_no_trouble() {
        let mut gaps = Gaps::default();
        gaps.find(i64::MIN, [-3, i64::MAX].into_iter());
        assert!(gaps.contains(i64::MIN) && gaps.contains(0) && !gaps.contains(i64::MAX));
        gaps.looked(i64::MAX, true, &holders(&[]));
        gaps.looked(i64::MAX, true, &holders(&[]));
        assert!(gaps.is_empty());
    }
}
