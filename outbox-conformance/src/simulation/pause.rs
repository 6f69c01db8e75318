//! A process that can be stopped and go on, as SIGSTOP and SIGCONT do it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;

/// Stops a process, and lets it go on.
#[derive(Clone, Default)]
pub(super) struct Switch(Arc<Mutex<(bool, Option<Waker>)>>);

impl Switch {
    pub(super) fn set(&self, paused: bool) {
        let mut state = self.0.lock().expect("no panic while it is held");
        state.0 = paused;
        if !paused && let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

/// A process under a switch.
pub(super) struct Process {
    pub(super) switch: Switch,
    pub(super) inner: BoxFuture<'static, ()>,
}

impl Future for Process {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.switch.0.lock().expect("no panic while it is held");
            if state.0 {
                state.1 = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(cx)
    }
}
