//! Log lines about states that last: one for each change, however often the state is looked at.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingress_acme_actors::fakes::{Fakes, ingress};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const HOST: &str = "www.example.com";

/// The log of one thread, a text for each line of the level `info` and above.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Begins to record the lines of this thread.
    fn record(&self) -> DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }

    fn count(&self, text: &str) -> usize {
        self.0.lock().expect("no test panicked").iter().filter(|line| line.contains(text)).count()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().expect("no test panicked").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        _ = write!(self.0, "{field}={value:?} "); // a String takes anything
    }
}

#[test]
fn the_owner_of_a_contested_host_is_logged_once_and_not_each_hour() {
    Fakes::paused(async {
        let log = Log::default();
        let _recording = log.record();
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("b", "shop", &[HOST]));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(ingress("a", "shop", &[HOST]));
        fakes.cluster.apply(ingress("c", "other", &["c.example.com"]));
        fakes.pass(2 * DAY).await;
        let contested = "several namespaces name one host";
        assert_eq!(log.count(contested), 1, "{:?}", log.0.lock().unwrap());
        assert_eq!(fakes.cluster.names("c", "other-tls"), ["c.example.com"], "its neighbour");
        fakes.cluster.apply(ingress("d", "shop", &[HOST]));
        fakes.cluster.delete(&ingress("b", "shop", &[]).key);
        fakes.pass(DAY).await;
        assert_eq!(log.count(contested), 2, "another owner");
        let served = ["a", "d"].map(|namespace| fakes.cluster.names(namespace, "shop-tls").len());
        assert_eq!(served.iter().sum::<usize>(), 1);
    });
}

#[test]
fn an_update_that_fails_all_day_is_logged_once() {
    Fakes::paused(async {
        let log = Log::default();
        let _recording = log.record();
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("fill_tls", usize::MAX);
        fakes.cluster.apply(ingress("web", "shop", &[HOST]));
        fakes.pass(DAY).await;
        assert!(fakes.cluster.calls("fill_tls") >= 24, "it is tried again by each scan");
        assert_eq!(log.count("could not be updated"), 1, "{:?}", log.0.lock().unwrap());
        assert_eq!(fakes.cluster.names("web", "shop-tls"), [HOST]);
    });
}
