//! `ingress-acme log-level`: shows the log filter of a running operator on its admin port, or
//! changes it for a while. Asks the cluster nothing.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;

use crate::acme::body_within;
use crate::commands::cli::LogLevelArgs;
use crate::commands::status::print;
use crate::dns_and_http::admin::log_filter::InForce;
use crate::dns_and_http::admin::log_level::PATH;

/// Runs `log-level`.
pub async fn show_or_change(args: LogLevelArgs) -> anyhow::Result<ExitCode> {
    let (address, url) = (args.address(), format!("http://{}{PATH}", args.address()));
    // Plain HTTP needs no roots, and the machine may have none.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).no_gzip().no_deflate();
    let client = client.timeout(limits::LOG_CALL).build()?;
    let request = match &args.filter {
        None => client.get(url),
        Some(filter) => {
            let time = args.time.as_secs();
            client.put(format!("{url}?for={time}s")).body(filter.clone())
        }
    };
    let mut answer = request.send().await.with_context(|| unheard(address))?;
    let status = answer.status();
    let Some(body) = body_within(&mut answer, limits::LOG_ANSWER).await? else {
        bail!("the answer of the admin port has more than {} bytes", limits::LOG_ANSWER);
    };
    let body = String::from_utf8_lossy(&body);
    if !status.is_success() {
        bail!("{}", cut(body, limits::LOG_ANSWER));
    }
    let in_force = serde_json::from_str(&body).with_context(|| unheard(address))?;
    Ok(print(&told(&in_force)))
}

fn unheard(address: SocketAddr) -> String {
    format!(
        "no operator answers on its admin port {address}: run this command in the operator's pod \
         (kubectl -n ingress-acme exec POD -- /ingress-acme log-level), or forward the port \
         (kubectl -n ingress-acme port-forward POD 9091)"
    )
}

fn told(InForce { filter, default, seconds_left }: &InForce) -> String {
    let Some(seconds) = seconds_left else { return cut(filter, limits::LOG_ANSWER) };
    let left = jiff::SignedDuration::try_from(Duration::from_secs(*seconds)).unwrap_or_default();
    cut(format!("{filter} (for {left:#} more, then {default})"), limits::LOG_ANSWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_with_its_end() {
        let mut in_force = InForce {
            filter: "info,ingress_acme=debug".to_owned(),
            default: "info".to_owned(),
            seconds_left: Some(870),
        };
        assert_eq!(told(&in_force), "info,ingress_acme=debug (for 14m 30s more, then info)");
        in_force.seconds_left = None;
        assert_eq!(told(&in_force), "info,ingress_acme=debug");
    }
}
