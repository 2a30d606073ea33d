//! Restarts of a test whose CA has failed.
//!
//! Pebble can deadlock when an order is read while the order changes. The failure of a test then
//! says nothing about the operator.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};

use futures_util::FutureExt;

use crate::options::Options;
use crate::world::World;

/// Result of a test body.
pub trait Outcome {
    /// Reason of the test's failure, if any.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Debug> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:?}"))
    }
}

/// Runs a test body with a fresh world. When the test fails and the CA is wedged, prints a message
/// and starts over, at most `times` runs in all.
///
/// # Panics
///
/// When the world does not start. When the body fails without a wedged CA, or in the last run: with
/// the body's own panic, or with its error.
pub async fn retry_when_wedged<T: Outcome>(times: u32, test: impl AsyncFn(&World) -> T) {
    retry_when_wedged_with(times, &Options::default(), test).await;
}

/// Like [`retry_when_wedged`], in worlds with other options.
///
/// # Panics
///
/// Like [`retry_when_wedged`].
pub async fn retry_when_wedged_with<T: Outcome>(
    times: u32,
    options: &Options,
    test: impl AsyncFn(&World) -> T,
) {
    for attempt in 1.. {
        let world = World::start_with(options.clone()).await;
        let world = world.unwrap_or_else(|error| panic!("the world did not start: {error}"));
        let Some(failure) = failure_of(&test, &world).await else { return };
        world.keep_files();
        if attempt >= times || !world.ca_is_wedged().await {
            failure.report();
        }
        eprintln!("control plane: the CA has wedged; starting over ({attempt} of {times})");
    }
}

enum Failure {
    Panic(Box<dyn Any + Send>),
    Error(String),
}

impl Failure {
    fn report(self) -> ! {
        match self {
            Self::Panic(payload) => panic::resume_unwind(payload),
            Self::Error(error) => panic!("the test failed: {error}"),
        }
    }
}

async fn failure_of<T: Outcome>(
    test: &impl AsyncFn(&World) -> T,
    world: &World,
) -> Option<Failure> {
    // Nothing of the body is used after a panic.
    match AssertUnwindSafe(test(world)).catch_unwind().await {
        Ok(outcome) => outcome.failure().map(Failure::Error),
        Err(payload) => Some(Failure::Panic(payload)),
    }
}
