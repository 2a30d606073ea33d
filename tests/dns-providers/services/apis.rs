//! Stand-ins for the APIs of providers, as far as a TXT record is added, listed and removed. Each
//! follows the documentation of its provider, and keeps the records of one zone.

mod by_number;
mod whole_sets;

use serde_json::Value;

use super::server::Asked;
use super::zone::Zone;
use by_number::{
    bunny, cloudflare, digitalocean, dnsimple, domeneshop, exoscale, infomaniak, inwx, ionos,
    linode, luadns, name_com, netlify, ovh, porkbun, simply, vercel, vultr,
};
use whole_sets::{azure, desec, gandi, gcore, godaddy, google, hetzner, ns1, route53, scaleway};

/// An API: its host, the keys of an account, and its answers. `None` stands for 404.
pub(crate) struct Api {
    pub(crate) provider: &'static str,
    pub(crate) hosts: &'static [&'static str],
    pub(crate) keys: &'static [(&'static str, &'static str)],
    pub(crate) answer: fn(&mut Zone, &Asked) -> Option<Value>,
}

/// A credential of most APIs. No answer may show it.
pub(crate) const TOKEN: &str = "t0ken+of/a=test";
/// A token that an API gives for credentials.
pub(crate) const ACCESS: &str = "an-access-token";
const ID: &[(&str, &str)] = &[("api-token", TOKEN)];

/// A text of a JSON document.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// All stand-ins, in the order of the providers.
pub(crate) const APIS: &[Api] = &[
    Api {
        provider: "azure",
        hosts: &["login.microsoftonline.com", "management.azure.com"],
        keys: &[
            ("tenant-id", "tenant"),
            ("client-id", "client"),
            ("client-secret", TOKEN),
            ("subscription-id", "subscription"),
            ("resource-group", "group"),
        ],
        answer: azure,
    },
    Api {
        provider: "bunny",
        hosts: &["api.bunny.net"],
        keys: &[("api-key", TOKEN)],
        answer: bunny,
    },
    Api { provider: "cloudflare", hosts: &["api.cloudflare.com"], keys: ID, answer: cloudflare },
    Api { provider: "desec", hosts: &["desec.io"], keys: ID, answer: desec },
    Api {
        provider: "digitalocean",
        hosts: &["api.digitalocean.com"],
        keys: ID,
        answer: digitalocean,
    },
    Api {
        provider: "dnsimple",
        hosts: &["api.dnsimple.com"],
        keys: &[("api-token", TOKEN), ("account-id", "7")],
        answer: dnsimple,
    },
    Api {
        provider: "domeneshop",
        hosts: &["api.domeneshop.no"],
        keys: &[("api-token", "user"), ("api-secret", TOKEN)],
        answer: domeneshop,
    },
    Api {
        provider: "exoscale",
        hosts: &["api-ch-gva-2.exoscale.com"],
        keys: &[("api-key", "EXO1"), ("api-secret", TOKEN)],
        answer: exoscale,
    },
    Api { provider: "gandi", hosts: &["api.gandi.net"], keys: ID, answer: gandi },
    Api { provider: "gcore", hosts: &["api.gcore.com"], keys: ID, answer: gcore },
    Api {
        provider: "godaddy",
        hosts: &["api.godaddy.com"],
        keys: &[("api-key", "key"), ("api-secret", TOKEN)],
        answer: godaddy,
    },
    Api {
        provider: "google-cloud-dns",
        hosts: &["oauth2.googleapis.com", "dns.googleapis.com"],
        keys: &[("project", "project"), ("service-account", SERVICE_ACCOUNT)],
        answer: google,
    },
    Api { provider: "hetzner", hosts: &["api.hetzner.cloud"], keys: ID, answer: hetzner },
    Api { provider: "infomaniak", hosts: &["api.infomaniak.com"], keys: ID, answer: infomaniak },
    Api {
        provider: "inwx",
        hosts: &["api.domrobot.com"],
        keys: &[("username", "user"), ("password", TOKEN)],
        answer: inwx,
    },
    Api {
        provider: "ionos",
        hosts: &["api.hosting.ionos.com"],
        keys: &[("api-key", TOKEN)],
        answer: ionos,
    },
    Api { provider: "linode", hosts: &["api.linode.com"], keys: ID, answer: linode },
    Api {
        provider: "luadns",
        hosts: &["api.luadns.com"],
        keys: &[("username", "user"), ("api-token", TOKEN)],
        answer: luadns,
    },
    Api {
        provider: "name.com",
        hosts: &["api.name.com"],
        keys: &[("username", "user"), ("api-token", TOKEN)],
        answer: name_com,
    },
    Api { provider: "netlify", hosts: &["api.netlify.com"], keys: ID, answer: netlify },
    Api { provider: "ns1", hosts: &["api.nsone.net"], keys: &[("api-key", TOKEN)], answer: ns1 },
    Api {
        provider: "ovh",
        hosts: &["eu.api.ovh.com"],
        keys: &[
            ("endpoint", "ovh-eu"),
            ("application-key", "app"),
            ("application-secret", TOKEN),
            ("consumer-key", "consumer-of-a-test"),
        ],
        answer: ovh,
    },
    Api {
        provider: "porkbun",
        hosts: &["api.porkbun.com"],
        keys: &[("api-key", "pk1"), ("secret-api-key", TOKEN)],
        answer: porkbun,
    },
    Api {
        provider: "route53",
        hosts: &["route53.amazonaws.com"],
        keys: &[("access-key-id", "AKIA"), ("secret-access-key", TOKEN)],
        answer: route53,
    },
    Api { provider: "scaleway", hosts: &["api.scaleway.com"], keys: ID, answer: scaleway },
    Api {
        provider: "simply",
        hosts: &["api.simply.com"],
        keys: &[("account-name", "user"), ("api-key", TOKEN)],
        answer: simply,
    },
    Api { provider: "vercel", hosts: &["api.vercel.com"], keys: ID, answer: vercel },
    Api {
        provider: "vultr",
        hosts: &["api.vultr.com"],
        keys: &[("api-key", TOKEN)],
        answer: vultr,
    },
];

/// A service account with a key that was made for this test.
const SERVICE_ACCOUNT: &str = include_str!("service-account.json");
