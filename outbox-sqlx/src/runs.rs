//! Positions as runs of neighbours: a run is found in the table by one walk, a position by one descent.

/// The first and the last position of each run, ascending.
pub(crate) fn runs(positions: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut positions: Vec<_> = positions.collect();
    positions.sort_unstable();
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for position in positions {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1).is_none_or(|next| position <= next) => {
                *last = position;
            }
            _ => runs.push((position, position)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_a_run_in_whatever_order_they_come() {
        assert_eq!(runs([7, 5, 6, 1, 9, 5].into_iter()), [(1, 1), (5, 7), (9, 9)]);
        assert_eq!(runs([i64::MAX, i64::MIN, i64::MAX].into_iter()).len(), 2);
        assert!(runs(std::iter::empty()).is_empty());
    }
}
