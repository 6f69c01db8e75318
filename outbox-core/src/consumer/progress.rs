//! How far a batch has come, whatever the order in which its deliveries are done.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Which deliveries of a batch are done.
pub(super) struct Progress(Mutex<State>);

struct State {
    done: Vec<bool>,
    /// The first that is not.
    next: usize,
}

impl Progress {
    pub(super) fn new(deliveries: usize) -> Self {
        Self(Mutex::new(State { done: vec![false; deliveries], next: 0 }))
    }

    /// Notes that these are done; gives those that everything before is done with, too, and was not
    /// until now.
    pub(super) fn done(&self, indexes: impl IntoIterator<Item = usize>) -> Range<usize> {
        let mut state = self.lock();
        for index in indexes {
            if let Some(done) = state.done.get_mut(index) {
                *done = true;
            }
        }
        let before = state.next;
        while state.done.get(state.next).is_some_and(|done| *done) {
            state.next += 1;
        }
        before..state.next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_on_to_the_lowest_that_is_not_done() {
        let progress = Progress::new(5);
        assert_eq!(progress.done([1, 3]), 0..0);
        assert_eq!(progress.done([0]), 0..2);
        assert_eq!(progress.done([4]), 2..2);
        assert_eq!(progress.done([2]), 2..5);
        assert_eq!(progress.done([2]), 5..5);
    }
}
