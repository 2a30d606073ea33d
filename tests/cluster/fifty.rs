//! Fifty Ingresses of every kind in five namespaces, which end with exactly the right Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingress_acme_control_plane::{AuditEntry, Operator, World, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::sites::{
    PATIENCE, Site, add_host, certificate, delete, ingress, names_in, namespace, routed, secret,
    tls_secrets, verify,
};
use crate::{alone, operator};

const NAMESPACES: [&str; 5] = ["team-0", "team-1", "team-2", "team-3", "team-4"];
const OPERATOR: &str = "system:serviceaccount:ingress-acme:ingress-acme";

/// Names in each expected Secret, by namespace and name of the Secret.
type Expected = BTreeMap<(String, String), BTreeSet<String>>;

#[derive(Default)]
struct Plan {
    sites: Vec<Site>,
    expected: Expected,
}

impl Plan {
    fn add(&mut self, site: Site, secrets: &[(&str, &[&str])]) {
        for (secret, names) in secrets {
            let key = (site.namespace.clone(), (*secret).to_owned());
            let names = names.iter().map(|name| (*name).to_owned());
            self.expected.entry(key).or_default().extend(names);
        }
        self.sites.push(site);
    }

    fn of_everything() -> Self {
        let mut plan = Self::default();
        for namespace in NAMESPACES {
            plan.add_ordinary(namespace);
            if namespace == "team-0" {
                plan.add_special(namespace);
            } else {
                plan.add_more(namespace);
            }
        }
        plan
    }

    /// Adds six Ingresses with seven certificates.
    fn add_ordinary(&mut self, ns: &str) {
        let host = |name: &str| format!("{name}.{ns}.example.com");
        let host = |name: &str| -> &'static str { host(name).leak() };
        self.add(Site::new(ns, "plain", &[host("a")]), &[("plain-tls", &[host("a")])]);
        let classy =
            Site::new(ns, "classy", &[host("b")]).class("nginx").tls("classy-tls", &[host("b")]);
        self.add(classy, &[("classy-tls", &[host("b")])]);
        let hosts = ["c", "www.c"].map(host);
        let old_class = Site::new(ns, "old-class", &hosts);
        let old_class = old_class.annotation("kubernetes.io/ingress.class", "traefik");
        self.add(old_class, &[("old-class-tls", &hosts)]);
        let hosts = ["d", "www.d"].map(host);
        let two = Site::new(ns, "two", &hosts).tls("two-a", &hosts[..1]).tls("two-b", &hosts[1..]);
        self.add(two, &[("two-a", &hosts[..1]), ("two-b", &hosts[1..])]);
        let hosts = ["e", "www.e"].map(host);
        let all_hosts = Site::new(ns, "all-hosts", &hosts).tls("all-hosts-tls", &[]);
        self.add(all_hosts, &[("all-hosts-tls", &hosts)]);
        let p384 = Site::new(ns, "p384", &[host("f")]);
        let p384 = p384.annotation("ingress-acme.dev/key-algorithm", "ecdsa-p384");
        self.add(p384, &[("p384-tls", &[host("f")])]);
    }

    /// Adds four ordinary Ingresses.
    fn add_more(&mut self, ns: &str) {
        for number in 0..4 {
            let (name, host) =
                (format!("more-{number}"), format!("more-{number}.{ns}.example.com"));
            self.add(Site::new(ns, &name, &[&host]), &[(&format!("{name}-tls"), &[&host])]);
        }
    }

    /// Adds five Ingresses with one certificate in all: two that share a Secret, one with a
    /// hand-made Secret, one opted out, and one of cert-manager's.
    fn add_special(&mut self, ns: &str) {
        let shared = ["one.shared.example.com", "two.shared.example.com"];
        self.add(
            Site::new(ns, "share-1", &shared[..1]).tls("shared", &shared[..1]),
            &[("shared", &shared)],
        );
        self.add(Site::new(ns, "share-2", &shared[1..]).tls("shared", &shared[1..]), &[]);
        let hand_made =
            Site::new(ns, "hand-made", &["hand.example.com"]).tls("by-hand", &["hand.example.com"]);
        self.add(hand_made, &[]);
        let out = Site::new(ns, "opted-out", &["out.example.com"]);
        self.add(out.annotation("ingress-acme.dev/enabled", "false"), &[]);
        let theirs =
            Site::new(ns, "theirs", &["theirs.example.com"]).tls("theirs", &["theirs.example.com"]);
        self.add(theirs.annotation("cert-manager.io/cluster-issuer", "letsencrypt"), &[]);
    }
}

async fn make_secret_by_hand(client: &Client) -> Secret {
    let secret = json!({
        "metadata": { "name": "by-hand", "namespace": "team-0" },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": "made by hand", "tls.key": "made by hand" },
    });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let api = Api::namespaced(client.clone(), "team-0");
    api.create(&PostParams::default(), &secret).await.expect("the Secret is created")
}

/// All Secrets of the five namespaces, with the names in their certificates.
async fn present(client: &Client) -> Expected {
    let mut present = Expected::new();
    for namespace in NAMESPACES {
        for (name, secret) in tls_secrets(client, namespace).await {
            let names = names_in(&secret).unwrap_or_default();
            present.insert((namespace.to_owned(), name), names);
        }
    }
    present
}

/// Resource versions of all Secrets, which a restart must not change.
async fn versions(client: &Client) -> BTreeMap<String, Option<String>> {
    let mut versions = BTreeMap::new();
    for namespace in NAMESPACES {
        for (name, secret) in tls_secrets(client, namespace).await {
            versions.insert(format!("{namespace}/{name}"), secret.metadata.resource_version);
        }
    }
    versions
}

#[actix::test]
async fn fifty_ingresses_end_with_exactly_the_right_secrets() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let plan = Plan::of_everything();
        for name in NAMESPACES {
            namespace(&client, name).await;
        }
        let by_hand = make_secret_by_hand(&client).await;
        let first = operator(world).await;
        for site in &plan.sites {
            site.create(&client).await;
        }
        let mut expected = plan.expected.clone();
        expected.insert(("team-0".to_owned(), "by-hand".to_owned()), BTreeSet::new());
        all_there(&client, &expected).await;
        assert!(plan.sites.len() >= 50, "{}", plan.sites.len());
        check_each(world, &client, &plan, &by_hand).await;
        check_requests(world, plan.expected.len());
        check_edit_and_deletion(world, &client, plan.expected.len()).await;
        check_restart(world, &client, first).await;
    })
    .await;
}

async fn all_there(client: &Client, expected: &Expected) {
    let what = format!("{} Secrets with the right names", expected.len());
    eventually(PATIENCE, &what, async || {
        tokio::time::sleep(Duration::from_millis(500)).await; // each check lists all Secrets
        (present(client).await == *expected).then_some(())
    })
    .await;
}

async fn check_each(world: &World, client: &Client, plan: &Plan, by_hand: &Secret) {
    for (namespace, name) in plan.expected.keys() {
        let found = secret(client, namespace, name).await.expect("it was there");
        verify(world, &found).await;
        let owners = found.metadata.owner_references.unwrap_or_default();
        assert!(!owners.is_empty() && owners.iter().all(|owner| owner.kind == "Ingress"), "{name}");
    }
    let shared = secret(client, "team-0", "shared").await.unwrap();
    assert_eq!(shared.metadata.owner_references.unwrap().len(), 2);
    assert_eq!(secret(client, "team-0", "by-hand").await.as_ref(), Some(by_hand), "untouched");
    let tls_of =
        async |name| ingress(client, "team-1", name).await.spec.unwrap().tls.unwrap_or_default();
    let filled = eventually(PATIENCE, "spec.tls is filled in", async || {
        tls_of("plain").await.into_iter().next()
    });
    assert_eq!(filled.await.secret_name.as_deref(), Some("plain-tls"));
    assert_eq!(tls_of("all-hosts").await[0].hosts, None, "the user's own spec.tls is not touched");
    assert_eq!(world.certificates_issued(), plan.expected.len(), "one certificate each");
    assert_eq!(world.orders_created(), plan.expected.len(), "one order each");
    eventually(PATIENCE, "the routes have gone", async || {
        routed(client).await.is_empty().then_some(())
    })
    .await;
}

fn check_requests(world: &World, certificates: usize) {
    let audit = world.audit();
    let ours: Vec<_> = audit.iter().filter(|entry| entry.user == OPERATOR).collect();
    assert!(!ours.is_empty());
    for entry in &ours {
        assert_eq!(entry.user_agent, ingress_acme::USER_AGENT, "{entry:?}");
        assert!(![401, 403].contains(&entry.code), "install.yaml lacks a rule: {entry:?}");
    }
    let mut by_kind = BTreeMap::<_, usize>::new();
    let of_the_work = |entry: &&&AuditEntry| {
        let own_secret = entry.resource == "secrets" && entry.namespace == "ingress-acme";
        entry.resource != "leases" && !own_secret
    };
    for entry in ours.iter().filter(of_the_work) {
        *by_kind.entry(format!("{} {}", entry.verb, entry.resource)).or_default() += 1;
    }
    let total: usize = by_kind.values().sum();
    figure!("{total} API requests for {certificates} certificates: {by_kind:?}");
    assert_eq!(by_kind["patch secrets"], certificates, "one write each");
}

async fn check_edit_and_deletion(world: &World, client: &Client, before: usize) {
    let (old, new) = ("a.team-2.example.com", "new.team-2.example.com");
    add_host(client, "team-2", "plain", new).await;
    let edited = certificate(client, "team-2", "plain-tls", &[old, new]).await;
    verify(world, &edited).await;
    assert_eq!(world.certificates_issued(), before + 1, "one new certificate");
    delete(client, "team-3", "plain").await;
    eventually(PATIENCE, "the Secret of a deleted Ingress is gone", async || {
        secret(client, "team-3", "plain-tls").await.is_none().then_some(())
    })
    .await;
}

async fn check_restart(world: &World, client: &Client, first: Operator) {
    let (issued, orders) = (world.certificates_issued(), world.orders_created());
    let before = versions(client).await;
    assert_eq!(first.terminate().await.expect("it ends"), 0, "SIGTERM drains and exits 0");
    let second = operator(world).await;
    eventually(PATIENCE, "the first scan after the restart", async || {
        let log = std::fs::read_to_string(second.log_path()).ok()?;
        log.contains("the first scan has ended").then_some(())
    })
    .await;
    // Longer than the longest settle time and a job.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!((world.certificates_issued(), world.orders_created()), (issued, orders));
    assert_eq!(versions(client).await, before, "no Secret was written");
    assert_eq!(second.terminate().await.expect("it ends"), 0);
}
