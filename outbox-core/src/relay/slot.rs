//! A place for one piece of work under way.

use futures::future::BoxFuture;

/// At most one future, polled from a `select!` without losing it.
pub(super) struct Slot<T>(Option<BoxFuture<'static, T>>);

impl<T> Slot<T> {
    pub(super) fn idle() -> Self {
        Self(None)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn start(&mut self, work: impl Future<Output = T> + Send + 'static) {
        debug_assert!(self.is_idle(), "one at a time");
        self.0 = Some(Box::pin(work));
    }

    /// Waits for the work under way, for ever if there is none.
    ///
    /// Cancel safe: the work stays.
    pub(super) async fn done(&mut self) -> T {
        match &mut self.0 {
            Some(work) => {
                let output = work.await;
                self.0 = None;
                output
            }
            None => std::future::pending().await,
        }
    }
}
