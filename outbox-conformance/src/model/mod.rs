//! A model check: random histories of a store, compared with a plain model step by step.
//!
//! A history is a list of [`Step`]s: transactions that write, commit and roll back, a relay that reads,
//! publishes, fails, settles and crashes, others that take over, an operator who redrives, discards and purges.
//! After each step the store must say what the model says. A history that doesn't is shrunk to a short
//! one, which the failure shows.

mod archive;
mod checked;
mod history;
mod plain;
mod walk;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use proptest_state_machine::ReferenceStateMachine;

pub use self::history::{Step, Which};
use self::{history::Histories, walk::walk};
use crate::StoreFactory;

/// How long shrinking may take, in milliseconds.
const SHRINKING: u32 = 30_000;

/// Checks so many random histories against the model.
///
/// The same ones each time: `RELAYBOX_SEED=n` in the environment makes others. `RELAYBOX_LONG=1` makes
/// fifty times as many.
///
/// # Panics
/// When the store and the model disagree, with the shortest history that was found, and the seed. And
/// in an asynchronous runtime: it has one of its own.
pub fn model_check<F: StoreFactory>(factory: &F, histories: u32) {
    if factory.capabilities().single_writer {
        check(factory, histories, Histories::<true>::sequential_strategy(1..60));
    } else {
        check(factory, histories, Histories::<false>::sequential_strategy(1..60));
    }
}

fn check<F: StoreFactory, S, T>(
    factory: &F,
    histories: u32,
    strategy: impl Strategy<Value = (S, Vec<Step>, Option<T>)>,
) where
    S: Clone + std::fmt::Debug,
    T: std::ops::Deref<Target = std::sync::atomic::AtomicUsize> + Clone + std::fmt::Debug,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime needs a thread, no more");
    let Some(probe) = runtime.block_on(factory.create()) else { return };
    runtime.block_on(factory.destroy(probe));

    let seed: u64 =
        std::env::var("RELAYBOX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let long = std::env::var_os("RELAYBOX_LONG").map_or(1, |_| 50);
    let config = Config {
        cases: histories.saturating_mul(long),
        failure_persistence: None,
        max_shrink_time: SHRINKING,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |(_, steps, seen)| {
        let walked = runtime.block_on(walk(factory, &steps, || {
            if let Some(seen) = &seen {
                seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }));
        walked.map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, (_, steps, _))) => {
            let steps: Vec<_> = steps
                .iter()
                .enumerate()
                .map(|(at, step)| format!("{:>3}. {step:?}", at + 1))
                .collect();
            panic!(
                "the store and the model disagree: {reason}\nafter this history (seed {seed}):\n{}",
                steps.join("\n")
            );
        }
        Err(TestError::Abort(reason)) => panic!("no histories to check (seed {seed}): {reason}"),
    }
}
