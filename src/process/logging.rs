//! Logs: JSON lines on standard output for the operator, which collectors read; nothing but warnings on standard
//! error for the other commands. `RUST_LOG` chooses otherwise.

use tracing_subscriber::EnvFilter;

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default))
}

/// Starts logging, once. The operator's own process also ends at a panic anywhere: an actor that is silently gone
/// would be worse, and whatever starts next resumes the work.
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
        .with_env_filter(filter("info,actix_server=warn"))
        .init();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "a bug: the process ends, and its next start goes on with the work");
        default(panic);
        std::process::abort();
    }));
}
