//! Running a promise: in a runtime, in bounded time, with what it made removed afterwards.

use std::{fmt::Debug, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::runtime::Builder;

/// A promise that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs a promise to its end in a runtime of its own. The macros' tests call it.
///
/// # Panics
/// When the promise is broken.
pub fn run<T>(promise: impl Future<Output = T>) -> T {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime needs two threads, no more").block_on(promise)
}

/// Ends in bounded time, and gives the panic of a broken promise for later.
pub(crate) async fn bounded(promise: impl Future<Output = ()>) -> std::thread::Result<()> {
    let limited = async {
        if tokio::time::timeout(LIMIT, promise).await.is_err() {
            panic!("it hangs: no end within {LIMIT:?}");
        }
    };
    AssertUnwindSafe(limited).catch_unwind().await
}

/// Says that a promise is not tested: a capability or a hook of the factory is missing.
pub(crate) fn passed_over(promise: &str, why: &str) {
    eprintln!("PASSED OVER: {promise}: {why}");
}

/// The module and name of the function that this closure is the body of.
pub(crate) fn name_of<P>(_: &P) -> &'static str {
    let path = std::any::type_name::<P>();
    let end = path.find(['<', '{']).unwrap_or(path.len());
    path[..end].trim_start_matches("relaybox_conformance::").trim_end_matches("::")
}

/// Panics, saying what was promised and what was seen, unless they are the same.
#[track_caller]
pub(crate) fn same<T: PartialEq + Debug + ?Sized>(promise: &str, seen: &T, promised: &T) {
    assert!(seen == promised, "{promise}\n  promised: {promised:?}\n      seen: {seen:?}");
}

/// Waits until a look shows what is wanted: what is promised for the end, not for now.
pub(crate) async fn in_the_end(promise: &str, look: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(12), promise, look).await;
}

/// The same for what is promised for now, give or take a look.
pub(crate) async fn soon(promise: &str, look: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(1), promise, look).await;
}

/// So many looks at least, however long they take: a machine that stands still for a second has not
/// looked.
const LOOKS: u32 = 100;

async fn within(limit: Duration, promise: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + limit;
    let mut looks = 1;
    while !look().await {
        assert!(
            looks < LOOKS || tokio::time::Instant::now() < deadline,
            "{promise}\n  promised: in time\n      seen: not within {limit:?} and {looks} looks"
        );
        looks += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    fn a_promise_of<F>(_: F) -> &'static str {
        name_of(&async || {})
    }

    #[test]
    fn a_promise_is_named_as_its_function() {
        assert_eq!(a_promise_of(0), "run::tests::a_promise_of");
    }
}
