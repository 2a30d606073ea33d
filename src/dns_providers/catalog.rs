//! The providers, with the keys of their accounts. `docs/dns.md` has the same table for readers,
//! which a test compares with this one.

use std::time::Duration;

use ingress_acme_actors::domain::dns::account::PERSIST;
use ingress_acme_actors::domain::limits;
use ingress_acme_dns::dns_update;
use ingress_acme_dns::dns_update::DnsUpdater;
use ingress_acme_dns::dns_update::providers::azuredns::{AzureDnsConfig, AzureEnvironment};
use ingress_acme_dns::dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use ingress_acme_dns::dns_update::providers::route53::Route53Config;

use super::acme_dns::AcmeDns;
use super::external_dns::ExternalDns;
use super::httpreq::HttpReq;
use super::provider::{Cluster, Key, Make, Provider};
use super::rfc2136::Rfc2136;
use super::webhook::Webhook;

/// Deadline of one request of the library.
const REQUEST: Option<Duration> = Some(limits::DNS_PROVIDER_REQUEST);

/// The provider with this name.
pub(super) fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

fn owned(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

fn azure_environment(name: Option<&str>) -> dns_update::Result<AzureEnvironment> {
    match name {
        None | Some("public") => Ok(AzureEnvironment::Public),
        Some("china") => Ok(AzureEnvironment::China),
        Some("us-government") => Ok(AzureEnvironment::UsGovernment),
        Some(_) => Err(dns_update::Error::Parse(
            "key `environment` is none of public, china, us-government".to_owned(),
        )),
    }
}

/// A provider of the library whose client is made from these keys.
macro_rules! library {
    ($name:literal, $title:literal, [$($key:expr),*], $make:expr) => {
        Provider { name: $name, title: $title, keys: &[$($key),*], make: Make::Library($make) }
    };
}

/// All providers: first those of the library, in the order of their names, then adapters of ours.
pub const PROVIDERS: &[Provider] = &[
    library!(
        "azure",
        "Azure DNS",
        [
            Key::required("tenant-id"),
            Key::required("client-id"),
            Key::secret("client-secret"),
            Key::required("subscription-id"),
            Key::required("resource-group"),
            Key::option("environment")
        ],
        |of| DnsUpdater::new_azuredns(AzureDnsConfig {
            tenant_id: of.get("tenant-id").to_owned(),
            client_id: of.get("client-id").to_owned(),
            client_secret: of.get("client-secret").to_owned(),
            subscription_id: of.get("subscription-id").to_owned(),
            resource_group: of.get("resource-group").to_owned(),
            environment: azure_environment(of.some("environment"))?,
            request_timeout: REQUEST,
        })
    ),
    library!("bunny", "Bunny DNS", [Key::secret("api-key")], |of| DnsUpdater::new_bunny(
        of.get("api-key"),
        REQUEST
    )),
    library!("cloudflare", "Cloudflare", [Key::secret("api-token")], |of| {
        DnsUpdater::new_cloudflare(of.get("api-token"), REQUEST)
    }),
    library!("desec", "deSEC", [Key::secret("api-token")], |of| DnsUpdater::new_desec(
        of.get("api-token"),
        REQUEST
    )),
    library!("digitalocean", "DigitalOcean", [Key::secret("api-token")], |of| {
        DnsUpdater::new_digitalocean(of.get("api-token"), REQUEST)
    }),
    library!(
        "dnsimple",
        "DNSimple",
        [Key::secret("api-token"), Key::required("account-id")],
        |of| DnsUpdater::new_dnsimple(of.get("api-token"), of.get("account-id"), REQUEST)
    ),
    library!(
        "domeneshop",
        "Domeneshop",
        [Key::secret("api-token"), Key::secret("api-secret")],
        |of| DnsUpdater::new_domeneshop(of.get("api-token"), of.get("api-secret"), REQUEST)
    ),
    library!("exoscale", "Exoscale", [Key::required("api-key"), Key::secret("api-secret")], |of| {
        DnsUpdater::new_exoscale(of.get("api-key"), of.get("api-secret"), REQUEST)
    }),
    library!("gandi", "Gandi", [Key::secret("api-token")], |of| DnsUpdater::new_gandiv5(
        of.get("api-token"),
        REQUEST
    )),
    library!("gcore", "Gcore", [Key::secret("api-token")], |of| DnsUpdater::new_gcore(
        of.get("api-token"),
        REQUEST
    )),
    library!("godaddy", "GoDaddy", [Key::secret("api-key"), Key::secret("api-secret")], |of| {
        DnsUpdater::new_godaddy(of.get("api-key"), of.get("api-secret"), REQUEST)
    }),
    library!(
        "google-cloud-dns",
        "Google Cloud DNS",
        [Key::secret("service-account"), Key::required("project"), Key::option("managed-zone")],
        |of| DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
            service_account_json: of.get("service-account").to_owned(),
            project_id: of.get("project").to_owned(),
            managed_zone: owned(of.some("managed-zone")),
            private_zone: false,
            impersonate_service_account: None,
            request_timeout: REQUEST,
        })
    ),
    library!("hetzner", "Hetzner", [Key::secret("api-token")], |of| DnsUpdater::new_hetzner(
        of.get("api-token"),
        REQUEST
    )),
    library!("infomaniak", "Infomaniak", [Key::secret("api-token")], |of| {
        DnsUpdater::new_infomaniak(of.get("api-token"), REQUEST)
    }),
    library!("inwx", "INWX", [Key::required("username"), Key::secret("password")], |of| {
        DnsUpdater::new_inwx(of.get("username"), of.get("password"), false, REQUEST)
    }),
    library!("ionos", "IONOS", [Key::secret("api-key")], |of| DnsUpdater::new_ionos(
        of.get("api-key"),
        REQUEST
    )),
    library!("linode", "Linode", [Key::secret("api-token")], |of| DnsUpdater::new_linode(
        of.get("api-token"),
        REQUEST
    )),
    library!("luadns", "LuaDNS", [Key::required("username"), Key::secret("api-token")], |of| {
        DnsUpdater::new_luadns(of.get("username"), of.get("api-token"), REQUEST)
    }),
    library!("name.com", "Name.com", [Key::required("username"), Key::secret("api-token")], |of| {
        DnsUpdater::new_namedotcom(of.get("username"), of.get("api-token"), REQUEST)
    }),
    library!("netlify", "Netlify", [Key::secret("api-token")], |of| DnsUpdater::new_netlify(
        of.get("api-token"),
        REQUEST
    )),
    library!("ns1", "NS1", [Key::secret("api-key")], |of| DnsUpdater::new_ns1(
        of.get("api-key"),
        REQUEST
    )),
    library!(
        "ovh",
        "OVH",
        [
            Key::required("endpoint"),
            Key::required("application-key"),
            Key::secret("application-secret"),
            Key::secret("consumer-key")
        ],
        |of| DnsUpdater::new_ovh(
            of.get("application-key"),
            of.get("application-secret"),
            of.get("consumer-key"),
            of.get("endpoint").parse()?,
            REQUEST,
        )
    ),
    library!("porkbun", "Porkbun", [Key::secret("api-key"), Key::secret("secret-api-key")], |of| {
        DnsUpdater::new_porkbun(of.get("api-key"), of.get("secret-api-key"), REQUEST)
    }),
    library!(
        "powerdns",
        "PowerDNS",
        [Key::secret("api-key"), Key::required("endpoint"), Key::option("server-id")],
        |of| DnsUpdater::new_pdns(
            of.get("api-key"),
            of.some("endpoint"),
            of.some("server-id"),
            REQUEST
        )
    ),
    library!(
        "route53",
        "Amazon Route 53",
        [
            Key::required("access-key-id"),
            Key::secret("secret-access-key"),
            Key::optional_secret("session-token"),
            Key::option("region"),
            Key::option("hosted-zone-id")
        ],
        |of| DnsUpdater::new_route53(Route53Config {
            access_key_id: of.get("access-key-id").to_owned(),
            secret_access_key: of.get("secret-access-key").to_owned(),
            session_token: owned(of.some("session-token")),
            region: owned(of.some("region")),
            hosted_zone_id: owned(of.some("hosted-zone-id")),
            private_zone_only: None,
            endpoint: None,
        })
    ),
    library!("scaleway", "Scaleway", [Key::secret("api-token")], |of| DnsUpdater::new_scaleway(
        of.get("api-token"),
        REQUEST
    )),
    library!(
        "simply",
        "Simply.com",
        [Key::required("account-name"), Key::secret("api-key")],
        |of| DnsUpdater::new_simplycom(of.get("account-name"), of.get("api-key"), REQUEST)
    ),
    library!("vercel", "Vercel", [Key::secret("api-token"), Key::option("team-id")], |of| {
        DnsUpdater::new_vercel(of.get("api-token"), of.some("team-id"), REQUEST)
    }),
    library!("vultr", "Vultr", [Key::secret("api-key")], |of| DnsUpdater::new_vultr(
        of.get("api-key"),
        REQUEST
    )),
    Provider {
        name: "acme-dns",
        title: "acme-dns",
        keys: &[Key::required("server"), Key::secret("accounts")],
        make: Make::Own(|of, _| Ok(Box::new(AcmeDns::new(of)?))),
    },
    Provider { name: PERSIST, title: "DNS-PERSIST-01", keys: &[], make: Make::Nothing },
    Provider {
        name: "external-dns",
        title: "ExternalDNS",
        keys: &[],
        make: Make::Own(|_, cluster| {
            Ok(Box::new(ExternalDns::new(cluster.client.clone(), &cluster.namespace)))
        }),
    },
    Provider {
        name: "httpreq",
        title: "the httpreq server",
        keys: &[
            Key::required("endpoint"),
            Key::option("username"),
            Key::optional_secret("password"),
        ],
        make: Make::Own(|of, _| Ok(Box::new(HttpReq::new(of)?))),
    },
    Provider {
        name: "rfc2136",
        title: "the name server",
        keys: &[
            Key::required("server"),
            Key::required("tsig-key-name"),
            Key::secret("tsig-secret"),
            Key::option("tsig-algorithm"),
        ],
        make: Make::Own(|of, cluster| Ok(Box::new(Rfc2136::new(of, cluster.clock.clone())?))),
    },
    Provider {
        name: "webhook",
        title: "the webhook solver",
        keys: &[
            Key::required("group"),
            Key::option("version"),
            Key::required("solver"),
            Key::optional_secret("config"),
        ],
        make: Make::Own(|of, cluster| {
            let Cluster { client, namespace, .. } = cluster.clone();
            Ok(Box::new(Webhook::new(client, &namespace, of)?))
        }),
    },
];
