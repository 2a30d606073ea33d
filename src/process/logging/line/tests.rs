use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tracing::{Instrument, error_span, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use super::*;

/// The written lines.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text that is written while `logs` runs.
fn logged(form: Form, logs: impl FnOnce()) -> String {
    let written = Written::default();
    let to = written.clone();
    let lines = Lines { form, writer: move || to.clone() };
    tracing::subscriber::with_default(registry().with(lines), logs);
    let bytes = written.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// The one line that is written while `logs` runs.
fn line(form: Form, logs: impl FnOnce()) -> String {
    let mut written = logged(form, logs);
    assert_eq!(written.pop(), Some('\n'));
    assert_eq!(written.lines().count(), 1, "{written}");
    written
}

fn object(logs: impl FnOnce()) -> Value {
    serde_json::from_str(&line(Form::Json, logs)).unwrap()
}

const TEXT: Form = Form::Text { coloured: false };

#[test]
fn a_line_has_the_fields_of_the_spans_around_it_and_the_innermost_value_of_each() {
    let object = object(|| {
        let outer = info_span!("outer", ingress = "web/shop", order = tracing::field::Empty, n = 1);
        outer.record("order", "https://ca.example/1");
        outer.in_scope(|| {
            let inner = info_span!("inner", n = 2, otel.name = "probe");
            inner.in_scope(|| info!(host = "a.example.com", good = true, "reached"));
        });
    });
    assert_eq!(object["message"], "reached");
    assert_eq!((&object["level"], &object["host"]), (&"INFO".into(), &"a.example.com".into()));
    assert_eq!((&object["ingress"], &object["n"]), (&"web/shop".into(), &2.into()));
    assert_eq!((&object["order"], &object["good"]), (&"https://ca.example/1".into(), &true.into()));
    assert!(object["target"].as_str().unwrap().ends_with("line::tests"));
    assert!(object.get("otel.name").is_none(), "the exporter's alone: {object}");
    let time = object["timestamp"].as_str().unwrap();
    time.parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn hostile_text_is_one_line_in_both_forms_and_steers_no_terminal() {
    let hostile = "a\nb\r\u{1b}[2J\u{9b}2J\u{7}\"x\"\u{2028}\u{202e}{}\\";
    let logs =
        || error_span!("job", ingress = hostile).in_scope(|| info!(why = hostile, "{hostile}"));
    let object = object(logs);
    for field in ["message", "why", "ingress"] {
        assert_eq!(object[field], hostile);
    }
    for form in [Form::Json, TEXT] {
        let line = line(form, logs);
        assert!(!line.chars().any(is_control), "{line}");
    }
}

#[test]
fn text_is_for_people_and_coloured_only_where_that_is_asked_for() {
    let logs = || info!(host = "a.example.com", why = "no answer", n = 3, "don't \"know\"");
    let plain = line(TEXT, logs);
    let shown = "  INFO don't \"know\" host=a.example.com why=\"no answer\" n=3 target=";
    assert!(plain.contains(shown), "{plain}");
    let coloured = line(Form::Text { coloured: true }, logs);
    assert!(coloured.contains("\u{1b}[32m INFO\u{1b}[0m don't"), "{coloured}");
}

#[test]
fn lines_of_jobs_that_take_turns_have_the_fields_of_their_own_jobs() {
    let job = async |n: u64| {
        for step in 0..5_u64 {
            info!(step, of = n, "step");
            tokio::task::yield_now().await;
        }
    };
    let written = logged(Form::Json, || {
        let jobs = (0..8_u64).map(|n| job(n).instrument(error_span!("job", n)));
        let jobs = futures_util::future::join_all(jobs);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(jobs);
    });
    let lines: Vec<Value> =
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 40);
    assert!(lines.iter().all(|line| line["n"] == line["of"]));
    // They did take turns.
    assert_ne!(lines[0]["n"], lines[1]["n"]);
}

proptest! {
    #[test]
    fn any_text_is_one_line_of_json_with_the_same_text_and_one_line_of_text(
        message: String, value: String, around: String, number: f64,
    ) {
        let logs = || {
            info_span!("span", around).in_scope(|| info!(value, number, "{message}"));
        };
        let object = object(logs);
        prop_assert_eq!(&object["message"], &message);
        prop_assert_eq!(&object["value"], &value);
        prop_assert_eq!(&object["around"], &around);
        prop_assert!(!line(TEXT, logs).chars().any(is_control));
    }
}
