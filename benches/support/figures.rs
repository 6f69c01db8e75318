//! Arithmetic on what was measured.

/// The middle one, or the mean of the middle two.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    }
}

/// So many events in so many seconds, as events a second.
pub(crate) fn rate(events: u64, seconds: f64) -> f64 {
    float(events) / seconds
}

/// The rates of ten parts of as many events each; `settled` are counts so far and the seconds at
/// which they were reached, in order.
///
/// The first part begins with the first count: what comes before is the start, not the drain.
pub(crate) fn tenths(settled: &[(u64, f64)]) -> Vec<f64> {
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return Vec::new() };
    let at = |tenth: u64| {
        let count = float(first.0) + float(last.0 - first.0) * float(tenth) / 10.0;
        (count, reached(settled, count))
    };
    (0..10)
        .map(|tenth| {
            let (from, to) = (at(tenth), at(tenth + 1));
            (to.0 - from.0) / (to.1 - from.1)
        })
        .collect()
}

/// When a count was reached, between the two times at which the neighbouring ones were.
fn reached(settled: &[(u64, f64)], count: f64) -> f64 {
    let after = settled.partition_point(|(known, _)| float(*known) < count);
    let Some(&(above, until)) = settled.get(after) else { return settled[settled.len() - 1].1 };
    let Some(&(below, since)) = after.checked_sub(1).and_then(|before| settled.get(before)) else {
        return until;
    };
    since + (until - since) * (count - float(below)) / float(above - below)
}

#[expect(clippy::cast_precision_loss, reason = "counts of events and bytes are far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
