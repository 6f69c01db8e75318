//! Sets of places in a topic, one bit each.

use std::{collections::BTreeMap, ops::Range};

use relaybox_core::Offset;

/// How many places a chunk has: 1 KiB.
const CHUNK: i64 = 64 * 128;
const WORDS: usize = 128;

/// Places in a topic. Only chunks in which there is one take memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    chunks: BTreeMap<(i32, i64), Box<[u64; WORDS]>>,
}

impl Places {
    pub(super) fn insert(&mut self, partition: i32, offset: Offset) {
        let (chunk, word, bit) = split(offset);
        self.chunks.entry((partition, chunk)).or_insert_with(|| Box::new([0; WORDS]))[word] |= bit;
    }

    pub(super) fn remove(&mut self, partition: i32, offset: Offset) {
        let (chunk, word, bit) = split(offset);
        if let Some(words) = self.chunks.get_mut(&(partition, chunk)) {
            words[word] &= !bit;
        }
    }

    /// Removes a partition's places that the others name, too; gives how many.
    pub(super) fn take_away(&mut self, partition: i32, others: &Self) -> u64 {
        let mut removed = 0;
        for (place, theirs) in others.chunks.range((partition, i64::MIN)..=(partition, i64::MAX)) {
            let Some(ours) = self.chunks.get_mut(place) else { continue };
            for (ours, theirs) in ours.iter_mut().zip(theirs.iter()) {
                removed += u64::from((*ours & theirs).count_ones());
                *ours &= !theirs;
            }
        }
        removed
    }

    pub(super) fn contains(&self, partition: i32, offset: Offset) -> bool {
        let (chunk, word, bit) = split(offset);
        self.chunks.get(&(partition, chunk)).is_some_and(|words| words[word] & bit != 0)
    }

    /// From the first to the last place of each partition that has one.
    pub(super) fn ranges(&self) -> BTreeMap<i32, Range<Offset>> {
        let mut ranges: BTreeMap<i32, Range<Offset>> = BTreeMap::new();
        for (&(partition, chunk), words) in &self.chunks {
            let set = |word: &usize| words[*word] != 0;
            let (Some(first), Some(last)) = ((0..WORDS).find(set), (0..WORDS).rfind(set)) else {
                continue;
            };
            let at = |word: usize, bit: u32| {
                chunk * CHUNK + Offset::try_from(word * 64).unwrap_or(0) + Offset::from(bit)
            };
            let start = at(first, words[first].trailing_zeros());
            let end = at(last, 64 - words[last].leading_zeros());
            ranges.entry(partition).and_modify(|range| range.end = end).or_insert(start..end);
        }
        ranges
    }
}

/// The chunk, the word in it, and the bit in that.
fn split(offset: Offset) -> (i64, usize, u64) {
    let (chunk, rest) = (offset.div_euclid(CHUNK), offset.rem_euclid(CHUNK));
    let rest = usize::try_from(rest).unwrap_or(0);
    (chunk, rest / 64, 1 << (rest % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_set_of_places_is_a_set() {
        let mut places = Places::default();
        let mut model = BTreeSet::new();
        for n in 0..5_000_i64 {
            let (partition, offset) = (i32::try_from(n % 3).unwrap(), n * n * 7 % 100_003);
            places.insert(partition, offset);
            model.insert((partition, offset));
        }
        let mut others = Places::default();
        let mut removed = 0;
        for offset in (0..100_003).step_by(3) {
            others.insert(1, offset);
            removed += u64::from(model.remove(&(1, offset)));
        }
        assert_eq!(places.take_away(1, &others), removed);
        assert_eq!(places.take_away(0, &others), 0);
        for offset in (0..100_003).step_by(5) {
            places.remove(2, offset);
            model.remove(&(2, offset));
        }
        for partition in 0..3 {
            for offset in 0..100_100 {
                let expected = model.contains(&(partition, offset));
                assert_eq!(places.contains(partition, offset), expected, "{partition} {offset}");
            }
            let of: Vec<_> = model.iter().filter(|(p, _)| *p == partition).collect();
            let (first, last) = (of.first().unwrap().1, of.last().unwrap().1);
            assert_eq!(places.ranges()[&partition], first..last + 1);
        }
    }

    #[test]
    fn what_was_removed_leaves_no_range() {
        let mut places = Places::default();
        places.insert(1, 70_000);
        assert_eq!(places.ranges(), [(1, 70_000..70_001)].into());
        assert_eq!(places.take_away(1, &places.clone()), 1);
        assert!(places.ranges().is_empty());
    }
}
