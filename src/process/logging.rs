//! Logging: JSON lines on standard output for the operator, as log collectors expect; errors only,
//! on standard error, for all other commands. `RUST_LOG` overrides the level.

use tracing_subscriber::EnvFilter;

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default))
}

/// Starts logging. Must be called once. The operator process also aborts on any panic: a silently
/// missing actor would be worse, and the next start resumes the work.
pub fn start(is_operator: bool) {
    if !is_operator {
        return tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(filter("error,kube_client=off"))
            .init();
    }
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        // The HTTP library logs an error for each malformed request, and anybody may send those.
        .with_env_filter(filter("info,actix_server=warn,actix_http=off"))
        .init();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "a bug: the process ends, and its next start resumes the work");
        default(panic);
        std::process::abort();
    }));
}
