//! Spans of jobs, on fakes: each log line of an issuance names its Ingress, its order and its
//! attempt, also while many take turns, and an issuance is one span with a child for each step.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::fakes::{Fakes, ingress};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, level_filters::LevelFilter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, registry};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

#[derive(Clone, Default, Debug)]
struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// An event with the fields of the spans around it.
#[derive(Debug)]
struct Line {
    own: Fields,
    around: Fields,
}

/// A span that has ended, with the id of its parent.
#[derive(Debug)]
struct Ended {
    id: u64,
    parent: Option<u64>,
    fields: Fields,
}

#[derive(Default)]
struct Seen {
    lines: Vec<Line>,
    ended: Vec<Ended>,
    open: usize,
    most_open: usize,
}

/// Records all spans and events of the operator.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Seen>>);

impl Layer<Registry> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, Registry>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
        if attributes.metadata().name() == "issuance" {
            let mut seen = self.0.lock().unwrap();
            seen.open += 1;
            seen.most_open = seen.most_open.max(seen.open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, Registry>) {
        values.record(context.span(id).unwrap().extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, Registry>) {
        let (mut own, mut around) = (Fields::default(), Fields::default());
        event.record(&mut own);
        for span in context.event_scope(event).into_iter().flatten() {
            around.0.extend(span.extensions().get::<Fields>().unwrap().0.clone());
        }
        self.0.lock().unwrap().lines.push(Line { own, around });
    }

    fn on_close(&self, id: Id, context: Context<'_, Registry>) {
        let span = context.span(&id).unwrap();
        let fields = span.extensions().get::<Fields>().unwrap().clone();
        let parent = span.parent().map(|parent| parent.id().into_u64());
        let mut seen = self.0.lock().unwrap();
        seen.open -= usize::from(span.name() == "issuance");
        seen.ended.push(Ended { id: id.into_u64(), parent, fields });
    }
}

/// Spans and events of the operator while `test` runs.
fn seen(test: impl Future<Output = ()> + 'static) -> Seen {
    let recorder = Recorder::default();
    let ours = LevelFilter::DEBUG;
    let subscriber = registry().with(recorder.clone().with_filter(ours));
    tracing::subscriber::with_default(subscriber, || Fakes::paused(test));
    std::mem::take(&mut *recorder.0.lock().unwrap())
}

impl Seen {
    /// Ended spans of jobs with this outcome.
    fn jobs(&self, outcome: &str) -> Vec<&Ended> {
        let jobs = self.ended.iter().filter(|one| one.fields.get("outcome") == Some(outcome));
        jobs.collect()
    }

    /// Names of the children of a span, in the order in which they ended.
    fn children(&self, of: &Ended) -> Vec<&str> {
        let children = self.ended.iter().filter(|one| one.parent == Some(of.id));
        children.filter_map(|one| one.fields.get("otel.name")).collect()
    }

    /// Lines with this message.
    fn lines(&self, message: &str) -> Vec<&Line> {
        let lines = self.lines.iter().filter(|line| line.own.get("message") == Some(message));
        lines.collect()
    }
}

#[test]
fn an_issuance_is_one_span_with_a_child_for_each_step_and_none_for_each_look_at_the_order() {
    let seen = seen(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["shop.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 1);
    });
    let [job] = seen.jobs("installed")[..] else { panic!("{:?}", seen.ended) };
    let Fields(fields) = &job.fields;
    assert_eq!((fields["ingress"].as_str(), fields["attempt"].as_str()), ("web/shop", "1"));
    assert!(fields["order"].starts_with("https://"), "{fields:?}");
    assert_eq!(job.parent, None);
    let children = seen.children(job);
    let steps = [
        "read_secret",
        "publish_routes",
        "probe",
        "begin",
        "open_order",
        "accept",
        "validation",
        "finalize",
        "issuing",
        "download",
        "install",
    ];
    let found: Vec<&str> = children.iter().copied().filter(|name| steps.contains(name)).collect();
    let mut first = BTreeSet::new();
    let in_order: Vec<&str> = found.into_iter().filter(|name| first.insert(*name)).collect();
    assert_eq!(in_order, steps, "{children:?}");
    assert!(!children.contains(&"refresh"), "{children:?}");
    assert!(children.len() < 20, "{children:?}");
}

#[test]
fn lines_of_issuances_that_take_turns_name_their_own_ingress_and_order() {
    let seen = seen(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.set_latency(Duration::from_millis(70));
        for n in 0..60 {
            let host = format!("h{n}.example.com");
            fakes.cluster.apply(ingress("web", &format!("s{n}"), &[&host]));
        }
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 60);
    });
    let (opened, installed) = (seen.lines("order opened"), seen.lines("certificate installed"));
    assert_eq!((opened.len(), installed.len()), (60, 60));
    // The ledger names the Secret and the order by itself.
    let mut orders = BTreeMap::new();
    for line in &opened {
        let (secret, order) = (line.own.get("secret").unwrap(), line.own.get("order").unwrap());
        assert_eq!(line.around.get("secret"), Some(secret));
        orders.insert(secret.to_owned(), order.to_owned());
    }
    assert_eq!(orders.values().collect::<BTreeSet<_>>().len(), 60);
    for line in &installed {
        let secret = line.own.get("secret").unwrap();
        assert_eq!(line.around.get("secret"), Some(secret));
        assert_eq!(line.around.get("order"), orders.get(secret).map(String::as_str));
    }
    // Within a job, the Ingress and the Secret belong together in each line.
    let mut of = BTreeMap::new();
    let jobs = seen
        .lines
        .iter()
        .filter_map(|line| Some((line.around.get("ingress")?, line.around.get("secret")?)));
    let mut turns = 0;
    let mut last = "";
    for (ingress, secret) in jobs {
        assert_eq!(*of.entry(ingress).or_insert(secret), secret);
        turns += usize::from(last != ingress);
        last = ingress;
    }
    assert_eq!(of.len(), 60);
    assert!(turns > 120, "they did not take turns: {turns}");
}

#[test]
fn a_further_attempt_has_its_number_and_a_failed_one_says_so() {
    let seen = seen(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let failure = Failure::new(FailureClass::Rejected, "not today\n\u{1b}[2J");
        fakes.ca.refuse(Some(failure));
        fakes.cluster.apply(ingress("web", "shop", &["shop.example.com"]));
        fakes.pass(MINUTE).await;
        fakes.ca.refuse(None);
        fakes.pass(30 * HOUR).await;
        assert_eq!(fakes.ca.issued().len(), 1);
    });
    let [failed] = seen.jobs("failed")[..] else { panic!("{:?}", seen.ended) };
    assert_eq!(failed.fields.get("attempt"), Some("1"));
    assert_eq!(failed.fields.get("otel.status_code"), Some("ERROR"));
    let [installed] = seen.jobs("installed")[..] else { panic!("{:?}", seen.ended) };
    assert_eq!(installed.fields.get("attempt"), Some("2"));
    let [line] = seen.lines("issuance failed")[..] else { panic!() };
    assert_eq!(line.around.get("ingress"), Some("web/shop"));
}

#[test]
fn the_spans_of_waiting_jobs_are_bounded() {
    let count = limits::SPANS_KEPT + 300;
    let seen = seen(async move {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        for n in 0..count {
            let (namespace, host) = (format!("n{}", n % 9), format!("h{n}.example.com"));
            fakes.cluster.unresolve(&host, true);
            fakes.cluster.apply(ingress(&namespace, &format!("s{n}"), &[&host]));
        }
        fakes.pass(2 * MINUTE).await;
    });
    let issuers = Fakes::settings().issuers;
    assert!(seen.most_open > limits::SPANS_KEPT, "{}", seen.most_open);
    assert!(seen.most_open <= limits::SPANS_KEPT + issuers + 1, "{}", seen.most_open);
}
