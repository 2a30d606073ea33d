//! Decides at start whether the CA is a public one (`--public-ca`).

use std::net::IpAddr;

use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::public_name::{PublicCa, public_by_address, public_by_name};
use tokio::time::timeout;
use tracing::{info, warn};
use url::Url;

use crate::commands::cli::PublicCaArg;

/// Whether the CA of `directory` is public. Its host is resolved once where its name does not show
/// it, with the system's resolver, which the ACME client uses as well.
pub(crate) async fn public_ca(chosen: PublicCaArg, directory: &str) -> PublicCa {
    let public = decide(chosen, directory, async |host: &str, port| {
        let found = tokio::net::lookup_host((host, port)).await;
        found.map(|found| found.map(|socket| socket.ip()).collect())
    })
    .await;
    if public != PublicCa::No {
        info!(directory, "the CA is a public one: only public names are ordered");
    }
    public
}

/// Decides with `lookup` as the resolver. A CA whose host cannot be resolved counts as private,
/// because every well-known public CA is known by name, and a private CA that counts as public
/// would renew no internal name.
async fn decide(
    chosen: PublicCaArg,
    directory: &str,
    lookup: impl AsyncFnOnce(&str, u16) -> std::io::Result<Vec<IpAddr>>,
) -> PublicCa {
    match chosen {
        PublicCaArg::True => return PublicCa::Yes,
        PublicCaArg::False => return PublicCa::No,
        PublicCaArg::Auto => {}
    }
    let Ok(url) = Url::parse(directory) else { return PublicCa::No };
    let host = url.host_str().unwrap_or_default();
    if let Some(public) = public_by_name(host) {
        return public;
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let why = match timeout(limits::DIRECTORY_LOOKUP, lookup(host, port)).await {
        Ok(Ok(addresses)) => return public_by_address(&addresses),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", limits::DIRECTORY_LOOKUP.as_secs()),
    };
    warn!(
        host,
        why,
        "the CA's host does not resolve, so the CA counts as private until the next start; set --public-ca to decide this"
    );
    PublicCa::No
}

/// Whether the certificates of a directory lead to the Mozilla roots: a known public CA, and not
/// its staging environment.
pub(crate) fn is_trusted_by_browsers(directory: &str) -> bool {
    let host = host(directory);
    is_known_public(directory) && !["staging", "test"].iter().any(|word| host.contains(word))
}

/// Whether a directory is that of a known public CA.
pub(crate) fn is_known_public(directory: &str) -> bool {
    public_by_name(&host(directory)) == Some(PublicCa::Yes)
}

fn host(directory: &str) -> String {
    let host = Url::parse(directory).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn decided(chosen: PublicCaArg, directory: &str, address: Option<&str>) -> PublicCa {
        let address = address.map(|address| address.parse::<IpAddr>().unwrap());
        decide(chosen, directory, async |_: &str, _| {
            address.map(|address| vec![address]).ok_or_else(|| std::io::Error::other("NXDOMAIN"))
        })
        .await
    }

    #[tokio::test]
    async fn a_ca_is_public_by_its_name_its_address_or_by_choice() {
        let (auto, ours) = (PublicCaArg::Auto, "https://ca.example.com:9000/directory");
        let staging = "https://acme-staging-v02.api.letsencrypt.org/directory";
        let (ours_by_ip, in_cluster) = ("https://127.0.0.1:14000/dir", "https://ca.step.svc/acme");
        assert_eq!(decided(auto, staging, None).await, PublicCa::Yes);
        assert_eq!(decided(auto, ours, Some("1.1.1.1")).await, PublicCa::ByAddress);
        assert_eq!(decided(auto, ours, Some("10.1.1.1")).await, PublicCa::No);
        assert_eq!(decided(auto, ours, None).await, PublicCa::No, "unknown and not resolved");
        assert_eq!(decided(auto, ours_by_ip, Some("1.1.1.1")).await, PublicCa::No);
        assert_eq!(decided(auto, in_cluster, Some("1.1.1.1")).await, PublicCa::No);
        assert_eq!(decided(PublicCaArg::False, staging, None).await, PublicCa::No);
        assert_eq!(decided(PublicCaArg::True, ours, None).await, PublicCa::Yes);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_never_answers_does_not_hold_up_the_start() {
        let never = async |_: &str, _| std::future::pending().await;
        let directory = "https://ca.example.com/directory";
        assert_eq!(decide(PublicCaArg::Auto, directory, never).await, PublicCa::No);
    }
}
