//! The log filter of the process, and its change for a while at run time. A change ends by itself,
//! and with the process.

use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::rt;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tracing::info;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::{EnvFilter, Registry};

/// Filter that stands for the one of the start.
pub const DEFAULT: &str = "default";

/// The filter. Clones are one filter.
#[derive(Clone)]
pub struct LogFilter(Arc<Inner>);

struct Inner {
    handle: Handle<EnvFilter, Registry>,
    first: String,
    change: Mutex<Option<Change>>,
}

/// A change that has not ended.
struct Change {
    filter: String,
    until: Instant,
    undo: AbortHandle,
}

/// The filter in force.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The filter.
    pub filter: String,
    /// The filter of the start.
    pub default: String,
    /// Time until the filter of the start returns, where another one is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

impl LogFilter {
    /// The filter behind `handle`, which is `first` at the start.
    pub fn new(handle: Handle<EnvFilter, Registry>, first: String) -> Self {
        Self(Arc::new(Inner { handle, first, change: Mutex::default() }))
    }

    /// The filter in force now.
    pub(super) fn in_force(&self) -> InForce {
        let (change, default) = (self.change(), self.0.first.clone());
        let left = |change: &Change| change.until.saturating_duration_since(Instant::now());
        InForce {
            filter: change.as_ref().map_or_else(|| default.clone(), |one| one.filter.clone()),
            seconds_left: change.as_ref().map(|one| left(one).as_secs()),
            default,
        }
    }

    /// Puts the filter that `text` asks for in force for `time`. An error is a text for people, and
    /// nothing has changed then.
    pub(super) fn set(&self, text: &str, time: Duration) -> Result<(), String> {
        let text = text.trim();
        if text == DEFAULT {
            self.end_change();
            return Ok(());
        }
        let (parsed, filter) = parsed(text, &self.0.first)?;
        info!(filter, ?time, "the log filter is changed for this time");
        self.0.handle.reload(parsed).map_err(|error| error.to_string())?;
        let ends = self.clone();
        let undo = rt::spawn(async move {
            sleep(time).await;
            ends.end_change();
        });
        let (until, undo) = (Instant::now() + time, undo.abort_handle());
        if let Some(before) = self.change().replace(Change { filter, until, undo }) {
            before.undo.abort();
        }
        Ok(())
    }

    fn end_change(&self) {
        let Some(change) = self.change().take() else { return };
        change.undo.abort();
        // The text was that of a filter at the start.
        let ended = self.0.handle.reload(EnvFilter::new(&self.0.first));
        info!(filter = self.0.first, ended = ended.is_ok(), "the log filter of the start is back");
    }

    fn change(&self) -> MutexGuard<'_, Option<Change>> {
        self.0.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A filter with its text. A level alone is that of the operator's own lines; those of libraries
/// stay as they are in `first`.
fn parsed(text: &str, first: &str) -> Result<(EnvFilter, String), String> {
    let refused = |why: &str| {
        let text = cut(text.escape_debug().to_string(), limits::QUOTED_MAX);
        format!(
            "`{text}` is no log filter: {why}. Expected a level (error, warn, info, debug, trace, off), {DEFAULT}, or \
             parts such as info,ingress_acme::acme=debug,[issuance{{ingress=web/shop}}]=trace"
        )
    };
    if !text.split(',').all(is_part) {
        return Err(refused("a part is neither a level nor TARGET=LEVEL"));
    }
    if text.matches('[').count() > 1 {
        return Err(refused("it names more than one Ingress"));
    }
    let filter = if is_level(text) { format!("{first},ingress_acme={text}") } else { text.into() };
    // Without regular expressions, whose cost would be decided by the text.
    let parsed = EnvFilter::builder().with_regex(false).parse(&filter);
    parsed
        .map(|parsed| (parsed, filter))
        .map_err(|error| refused(&cut(error.to_string(), limits::QUOTED_MAX)))
}

/// Whether a part of a filter is one of three kinds: a level, `TARGET=LEVEL`, or the lines of one
/// Ingress. The parser of tracing-subscriber 0.3.23 panics at some others, and takes a misspelt
/// level for a target.
fn is_part(part: &str) -> bool {
    let Some((what, level)) = part.rsplit_once('=') else { return is_level(part) };
    let are = |text: &str, more: &[u8]| {
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let ingress = what.strip_prefix("[issuance{ingress=").and_then(|rest| rest.strip_suffix("}]"));
    let is_ingress = |key: &str| key.contains('/') && are(key, b"-./");
    is_level(level) && (are(what, b"_:-") || ingress.is_some_and(is_ingress))
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && LevelFilter::from_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracing_subscriber::reload;

    use super::*;

    const FIRST: &str = "info,actix_http=off";

    /// The filter, with the layer that has to outlive it.
    fn filter() -> (LogFilter, reload::Layer<EnvFilter, Registry>) {
        let (layer, handle) = reload::Layer::new(EnvFilter::new(FIRST));
        (LogFilter::new(handle, FIRST.to_owned()), layer)
    }

    fn in_handle(filter: &LogFilter) -> String {
        filter.0.handle.with_current(ToString::to_string).unwrap()
    }

    #[actix_web::test]
    async fn a_level_is_that_of_our_lines_and_ends_after_its_time() {
        tokio::time::pause();
        let (filter, _layer) = filter();
        filter.set("debug", Duration::from_mins(1)).unwrap();
        let changed = filter.in_force();
        assert_eq!(changed.filter, "info,actix_http=off,ingress_acme=debug");
        assert_eq!((changed.default.as_str(), changed.seconds_left), (FIRST, Some(60)));
        assert!(in_handle(&filter).contains("ingress_acme=debug"));
        sleep(Duration::from_secs(61)).await;
        let after = filter.in_force();
        assert_eq!((after.filter.as_str(), after.seconds_left), (FIRST, None));
        assert!(!in_handle(&filter).contains("ingress_acme"));
    }

    #[actix_web::test]
    async fn a_later_change_has_its_own_time_and_default_ends_it() {
        tokio::time::pause();
        let (filter, _layer) = filter();
        filter.set("debug", Duration::from_mins(1)).unwrap();
        filter.set("warn,ingress_acme::acme=trace", Duration::from_mins(10)).unwrap();
        sleep(Duration::from_secs(61)).await;
        assert!(matches!(filter.in_force().seconds_left, Some(530..540)));
        filter.set(DEFAULT, Duration::from_secs(1)).unwrap();
        assert_eq!(
            (filter.in_force().filter.as_str(), filter.in_force().seconds_left),
            (FIRST, None)
        );
        sleep(Duration::from_mins(10)).await;
        assert_eq!(filter.in_force().filter, FIRST);
    }

    #[actix_web::test]
    async fn a_bad_filter_is_named_and_changes_nothing() {
        let (filter, _layer) = filter();
        for bad in [
            "",
            "verbose",
            "info,",
            "info,a=loud",
            "[x",
            "dbug,ingress_acme=info",
            "a\n\u{1b}b",
            "Σ[",
            "[x]=info",
            "[issuance{ingress=1}]=info",
        ] {
            let why = filter.set(bad, Duration::from_mins(1)).unwrap_err();
            assert!(
                why.contains("is no log filter") && !why.chars().any(char::is_control),
                "{why}"
            );
            assert_eq!(filter.in_force().filter, FIRST, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_a_bounded_reason(
            text in ".{0,60}|[ -~]{0,60}|((info|off|a=warn|b::c-d=trace|\\[issuance\\{ingress=w/s\\}\\]=debug|[a-z:=]),?){0,9}",
        ) {
            if let Err(why) = parsed(&text, FIRST) {
                prop_assert!(why.len() < 3 * limits::QUOTED_MAX);
                prop_assert!(!why.chars().any(char::is_control), "{}", why);
            }
        }
    }
}
