//! Starting a test over when it was the CA that failed.
//!
//! Pebble can lock itself up for good when an order is fetched while it
//! changes. A test that fails then says nothing about the operator.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};

use futures_util::FutureExt;

use crate::world::{Options, World};

/// What a test body may return.
pub trait Outcome {
    /// Why the test failed, if it did.
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

/// Runs a test body with a fresh world; when it fails and the CA is found
/// wedged, says so and starts over, at most `times` times in all.
///
/// # Panics
///
/// When the world does not start, and when the body fails otherwise: with the
/// body's own panic, or with the error it returned.
pub async fn retry_when_wedged<T: Outcome>(times: u32, test: impl AsyncFn(&World) -> T) {
    retry_when_wedged_with(times, &Options::default(), test).await;
}

/// [`retry_when_wedged`] in worlds that differ from the default.
///
/// # Panics
///
/// As [`retry_when_wedged`].
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
    // Nothing of the body is looked at after it has panicked.
    match AssertUnwindSafe(test(world)).catch_unwind().await {
        Ok(outcome) => outcome.failure().map(Failure::Error),
        Err(payload) => Some(Failure::Panic(payload)),
    }
}
