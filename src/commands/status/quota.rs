//! Cost of a renewal of many certificates at their CAs: shown before it is asked for. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::rate_limits::LimitScope;
use ingress_acme_actors::domain::rate_limits::forecast::forecast;

use crate::commands::cli::LETS_ENCRYPT;

/// A certificate that is to be renewed.
#[derive(Clone, Debug)]
pub(super) struct Renewed {
    /// Names of the certificate.
    pub(super) names: BTreeSet<DnsName>,
    /// URL of the directory that issued the present one; `None` if there is none yet.
    pub(super) directory: Option<String>,
}

/// Describes the orders at each CA, and its limits as far as they are known.
pub(super) fn orders(certificates: &[Renewed]) -> String {
    let mut by_ca: BTreeMap<Option<&str>, Vec<&Renewed>> = BTreeMap::new();
    for certificate in certificates {
        by_ca.entry(certificate.directory.as_deref()).or_default().push(certificate);
    }
    let lines = by_ca.into_iter().map(|(directory, certificates)| {
        let orders = count(certificates.len(), "order", "orders");
        match directory {
            None => {
                format!("  {orders} at the operator's CA, for certificates that do not exist yet")
            }
            Some(LETS_ENCRYPT) => {
                format!("  {orders} at {LETS_ENCRYPT}\n{}", lets_encrypt(&certificates))
            }
            Some(other) => {
                format!("  {orders} at {other}, whose limits are not known here")
            }
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A number of things in words.
pub(in crate::commands) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The limits of Let's Encrypt (<https://letsencrypt.org/docs/rate-limits/>), and how much of each
/// is used.
fn lets_encrypt(certificates: &[&Renewed]) -> String {
    let (orders, domains) = (limits::SHARED_ORDERS, limits::SHARED_CERTIFICATES);
    let counted = forecast(certificates.iter().map(|certificate| &certificate.names));
    let of_domains = counted.iter().filter_map(|limit| match &limit.scope {
        LimitScope::Domain(domain) => Some((limit.orders, domain)),
        _ => None,
    });
    let most = of_domains.max_by_key(|(orders, _)| *orders);
    let most = most.map_or_else(String::new, |(orders, domain)| {
        format!("; here up to {orders}, under {domain}")
    });
    format!(
        "    limits: {orders} orders of the account in 3 hours; {domains} certificates a week under one registered domain{most};\n    \
         5 certificates a week for exactly the same names. Orders that the CA takes as renewals (ARI) count in none of them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renewed(names: &[&str], directory: Option<&str>) -> Renewed {
        let names = names.iter().map(|name| DnsName::parse(name).unwrap()).collect();
        Renewed { names, directory: directory.map(str::to_owned) }
    }

    #[test]
    fn the_orders_are_counted_for_each_ca_and_the_fullest_domain_is_named() {
        let own = "https://ca.internal/directory";
        let text = orders(&[
            renewed(&["a.example.com", "b.example.com"], Some(LETS_ENCRYPT)),
            renewed(&["c.example.com", "www.example.co.uk"], Some(LETS_ENCRYPT)),
            renewed(&["example.co.uk"], Some(LETS_ENCRYPT)),
            renewed(&["shop.example.com"], Some(LETS_ENCRYPT)),
            renewed(&["a.internal"], Some(own)),
            renewed(&["new.example.com"], None),
        ]);
        assert!(
            text.contains("4 orders at https://acme-v02.api.letsencrypt.org/directory\n"),
            "{text}"
        );
        assert!(text.contains("300 orders of the account in 3 hours"), "{text}");
        assert!(text.contains("here up to 3, under example.com"), "{text}");
        assert!(text.contains(&format!("1 order at {own}, whose limits are not known")), "{text}");
        assert!(text.contains("1 order at the operator's CA"), "{text}");
        assert_eq!(text.matches("limits:").count(), 1, "{text}");
    }
}
