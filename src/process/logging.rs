//! Logging: lines on standard output for the operator, JSON as log collectors expect or text on a
//! terminal; errors only, on standard error, for all other commands. `RUST_LOG` is the filter of
//! the start. With the feature `otlp`, spans are sent to a collector as well.

mod line;
#[cfg(feature = "otlp")]
mod traces;

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
#[cfg(feature = "otlp")]
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, registry, reload};

use crate::commands::cli::LogFormatArg;
use crate::dns_and_http::admin::log_filter::LogFilter;
use line::{Form, Lines};

/// Filter of `run` without `RUST_LOG`. The HTTP library logs an error for each malformed request,
/// and anybody may send those.
const OPERATOR: &str = "info,actix_server=warn,actix_http=off";
/// Filter of the other commands without `RUST_LOG`.
const COMMAND: &str = "error,kube_client=off";
/// Variables of OpenTelemetry that name a collector of traces.
const COLLECTORS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Logging of the operator.
pub struct Logging {
    /// The filter, which may be changed for a while.
    pub filter: LogFilter,
    #[cfg(feature = "otlp")]
    traces: Option<traces::Traces>,
}

impl Logging {
    /// Sends the queued spans, within a deadline.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(clippy::unused_async, reason = "only traces are waited for")
    )]
    pub async fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.end().await;
        }
    }
}

/// Starts logging of a command other than `run`. Logging is started once.
pub fn start_command() {
    let (filter, ..) = first_filter(COMMAND);
    let form = form(LogFormatArg::Text, io::stderr().is_terminal(), no_color().as_deref());
    registry().with(Lines { form, writer: io::stderr }.with_filter(filter)).init();
}

/// Starts logging of the operator. Logging is started once. The process also aborts on any panic: a
/// silently missing actor would be worse, and the next start resumes the work.
pub fn start_operator(format: LogFormatArg) -> Logging {
    let (filter, first, passed_over) = first_filter(OPERATOR);
    let (filter, handle) = reload::Layer::new(filter);
    let form = form(format, io::stdout().is_terminal(), no_color().as_deref());
    let lines = Lines { form, writer: io::stdout }.with_filter(filter);
    let logging = begin(registry().with(lines), LogFilter::new(handle, first));
    if passed_over {
        tracing::warn!(
            filter = OPERATOR,
            "RUST_LOG cannot be read, so that the default is in force"
        );
    }
    abort_on_panic();
    logging
}

/// The filter of `RUST_LOG` if it can be read, else `default`, with its text; and whether a text
/// was passed over. tracing-subscriber 0.3.23 panics at some texts that are not ASCII, and refuses
/// spaces around a part.
fn first_filter(default: &str) -> (EnvFilter, String, bool) {
    let given = std::env::var_os(EnvFilter::DEFAULT_ENV);
    let given = given.map(|text| text.to_string_lossy().into_owned());
    let given = given.filter(|text| !text.trim().is_empty());
    let read = given.as_deref().and_then(read_filter);
    let passed_over = given.is_some() && read.is_none();
    let (filter, text) = read.unwrap_or_else(|| (EnvFilter::new(default), default.to_owned()));
    (filter, text, passed_over)
}

fn read_filter(text: &str) -> Option<(EnvFilter, String)> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let text = Some(parts.join(",")).filter(|text| text.is_ascii())?;
    Some((EnvFilter::try_new(&text).ok()?, text))
}

#[cfg(feature = "otlp")]
fn begin<S>(subscriber: S, filter: LogFilter) -> Logging
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let traces = traces::Traces::of_environment(&COLLECTORS);
    match &traces {
        Ok(Some(traces)) => subscriber.with(traces.layer()).init(),
        Ok(None) | Err(_) => subscriber.init(),
    }
    let traces = traces.unwrap_or_else(|error| {
        tracing::warn!("no traces are sent: {error:#}"); // certificates do not depend on them
        None
    });
    Logging { filter, traces }
}

#[cfg(not(feature = "otlp"))]
fn begin(subscriber: impl Subscriber + Send + Sync, filter: LogFilter) -> Logging {
    subscriber.init();
    if let Some(name) = COLLECTORS.iter().find(|name| std::env::var_os(name).is_some()) {
        tracing::warn!("{name} is set, but this program is built without traces (feature otlp)");
    }
    Logging { filter }
}

fn abort_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "a bug: the process ends, and its next start resumes the work");
        default(panic);
        std::process::abort();
    }));
}

/// Form of the lines, on a terminal or elsewhere.
fn form(format: LogFormatArg, is_terminal: bool, no_color: Option<&OsStr>) -> Form {
    let coloured = has_colours(is_terminal, no_color);
    match (format, is_terminal) {
        (LogFormatArg::Json, _) | (LogFormatArg::Auto, false) => Form::Json,
        (LogFormatArg::Text, _) | (LogFormatArg::Auto, true) => Form::Text { coloured },
    }
}

/// Whether output has colours. `no_color` is the variable `NO_COLOR`, which turns them off unless
/// it is empty (<https://no-color.org>).
pub(crate) fn has_colours(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

pub(crate) fn no_color() -> Option<OsString> {
    std::env::var_os("NO_COLOR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_text_with_colours_unless_the_user_wants_none_and_a_pod_has_json() {
        let text = |coloured| Form::Text { coloured };
        let some = |value| Some(OsStr::new(value));
        for (format, is_terminal, no_color, expected) in [
            (LogFormatArg::Auto, false, None, Form::Json),
            (LogFormatArg::Auto, true, None, text(true)),
            (LogFormatArg::Auto, true, some("1"), text(false)),
            (LogFormatArg::Auto, true, some(""), text(true)),
            (LogFormatArg::Text, false, None, text(false)),
            (LogFormatArg::Text, true, None, text(true)),
            (LogFormatArg::Json, true, None, Form::Json),
        ] {
            assert_eq!(form(format, is_terminal, no_color), expected, "{format:?}, {is_terminal}");
        }
    }
}
