//! One line for each event: JSON for log collectors, text for people. The fields of the spans
//! around an event are fields of its line, so that each line of a job names its Ingress.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use ingress_acme_actors::domain::cut::is_control;
use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Form of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// A JSON object.
    Json,
    /// Text.
    Text {
        /// Whether the level has a colour.
        coloured: bool,
    },
}

/// Writes a line for each event.
pub(super) struct Lines<W> {
    pub(super) form: Form,
    pub(super) writer: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Fields>() {
                fields.add(around);
            }
        }
        let metadata = event.metadata();
        let line = self.form.line(*metadata.level(), metadata.target(), &fields);
        // There is nobody to tell that a line cannot be written.
        _ = self.writer.make_writer_for(metadata).write_all(line.as_bytes());
    }
}

/// Fields of a span or an event, each name once.
#[derive(Default)]
struct Fields {
    message: String,
    /// Target of a record of the crate `log`, whose events share one.
    target: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("log.target", Value::String(target)) => self.target = Some(target),
            // The places in a library's sources, and the words of an exporter.
            (name, _) if name.starts_with("log.") || name.starts_with("otel.") => {}
            (name, value) => match self.others.iter_mut().find(|(other, _)| *other == name) {
                Some((_, before)) => *before = value,
                None => self.others.push((name, value)),
            },
        }
    }

    /// Adds the fields of a span around. A name that is there already stays as it is.
    fn add(&mut self, around: &Self) {
        let own = self.others.len();
        for (name, value) in &around.others {
            if !self.others[..own].iter().any(|(other, _)| other == name) {
                self.others.push((name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

impl Form {
    fn line(self, level: Level, target: &str, fields: &Fields) -> String {
        let mut time = String::new();
        // Cannot fail: a String takes any text.
        _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let target = fields.target.as_deref().unwrap_or(target);
        match self {
            Self::Json => json(&time, level, target, fields),
            Self::Text { coloured } => text(&time, coloured, (level, target), fields),
        }
    }
}

/// A JSON object. `timestamp`, `level`, `message` and `target` are always there.
fn json(time: &str, level: Level, target: &str, fields: &Fields) -> String {
    let object = object(time, level, target, fields).unwrap_or_default();
    let mut line = String::from_utf8_lossy(&object).into_owned();
    if line.contains(is_control) {
        // Inside of strings only: names and punctuation are ASCII.
        let escaped = |c| if is_control(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
        line = line.chars().map(escaped).collect();
    }
    line.push('\n');
    line
}

fn object(time: &str, level: Level, target: &str, fields: &Fields) -> serde_json::Result<Vec<u8>> {
    let mut object = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut object);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", time)?;
    map.serialize_entry("level", level.as_str())?;
    map.serialize_entry("message", &fields.message)?;
    for (name, value) in &fields.others {
        if !["timestamp", "level", "target"].contains(name) {
            map.serialize_entry(name, value)?;
        }
    }
    map.serialize_entry("target", target)?;
    map.end()?;
    Ok(object)
}

fn text(time: &str, coloured: bool, (level, target): (Level, &str), fields: &Fields) -> String {
    let (begin, end) = if coloured {
        (format!("\x1b[{}m", colour(level)), "\x1b[0m")
    } else {
        (String::new(), "")
    };
    let mut line = format!("{time} {begin}{level:>5}{end} ");
    for c in fields.message.chars() {
        if is_control(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    for (name, value) in &fields.others {
        // Cannot fail: a String takes any text.
        _ = match value {
            Value::String(text) => write!(line, " {name}={}", word(text)),
            value => write!(line, " {name}={value}"),
        };
    }
    _ = writeln!(line, " target={target}");
    line
}

/// A value as it is, or in quotes with its special characters escaped.
fn word(text: &str) -> String {
    let quoted = format!("{text:?}");
    let is_plain = quoted.len() == text.len() + 2 && !text.contains([' ', '=']) && !text.is_empty();
    if is_plain { text.to_owned() } else { quoted }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

#[cfg(test)]
mod tests;
