//! A storm at the CA of the years to come ([`ca::Options::year_2029`]): all its switches at once,
//! and an operator on the clock of the world, which jumps over days.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingress_acme::commands::demo::resident::OperatorThread;
use ingress_acme_sim::ca::{self, CAA_IDENTITY, Ca, Issued, Limits, Load};
use ingress_acme_sim::dns::Trouble;
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World, free_address};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::json;

use crate::account::field;
use crate::{alone, eventually};

/// Interval of the scans, in this machine's time: jumps of the clock are noticed soon.
const SCAN: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// More than half of six days, by less than the renewal window of the certificates.
const HALF_LIFE: Duration = Duration::from_hours(74);
/// Page of the incident.
const INCIDENT: &str = "https://ca.example/incident/2029";
/// Remote network that no host lets through, and one more that some hosts do not.
const BLOCKED: [usize; 2] = [3, 1];

/// Ingresses by the lifetime of their certificates.
const FORTY_FIVE_DAYS: usize = 80;
const SIX_DAYS: usize = 8;

/// Ingresses that cannot be served: name, number of orders, words of the Event.
const REFUSED: [(&str, u64, &str); 10] = [
    ("far1", 1, "During secondary validation"),
    ("far2", 1, "geo-blocking"),
    ("bogus1", 1, "DNS problem: SERVFAIL looking up A for www.bogus1.test"),
    ("bogus2", 1, "its DNSSEC signatures must be right"),
    ("bogus-caa1", 1, "DNS problem: SERVFAIL looking up CAA for www.bogus-caa1.test"),
    ("bogus-caa2", 1, "its DNSSEC signatures must be right"),
    ("account1", 0, "accounturi is that of another account"),
    ("account2", 0, "The CA was not asked"),
    ("method1", 0, "validationmethods leaves out http-01"),
    ("method2", 0, "The CA was not asked"),
];

struct Storm {
    operator: OperatorThread,
    world: World,
    client: Client,
}

impl Storm {
    fn start() -> Self {
        // Without the limits of the load balancer on requests per second, which only delay.
        let limits = Limits { load: Load::default(), ..Limits::lets_encrypt() };
        let ca = ca::Options { limits, ..ca::Options::year_2029() };
        let world = World::start(Options { ca, seed: 2029, ..Options::default() }).unwrap();
        world.ca().block_network(BLOCKED[0], None);
        let web = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}});
        world.api().load(web).unwrap();
        let client = Client::try_from(world.api().config(User::Admin)).unwrap();
        let operator = OperatorThread::start(&world, 1, free_address().unwrap(), SCAN).unwrap();
        Self { operator, world, client }
    }

    fn ca(&self) -> &Ca {
        self.world.ca()
    }

    fn load(&self, name: &str) {
        let (host, short) = (host(name), name.starts_with("short"));
        let profile =
            if short { json!({"ingress-acme.dev/profile": "shortlived"}) } else { json!({}) };
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "web", "name": name, "annotations": profile},
            "spec": {"rules": [{"host": host}], "tls": [{"hosts": [host], "secretName": name}]},
        });
        self.world.api().load(ingress).unwrap();
    }

    /// Breaks the hosts of [`REFUSED`], or mends them.
    async fn set_broken(&self, broken: bool) {
        let other = format!("{}0", self.account().await);
        let (ca, zone) = (self.ca(), self.world.dns().zone());
        for (name, ..) in REFUSED {
            let host = host(name);
            let trouble = |trouble| zone.set(&host, broken.then_some(trouble));
            let caa = |parameter| {
                let locked = [(Some(CAA_IDENTITY), std::slice::from_ref(parameter))];
                zone.set_caa(&host, if broken { &locked } else { &[] });
            };
            match name.trim_end_matches(['1', '2']) {
                "far" if broken => ca.block_network(BLOCKED[1], Some(&host)),
                "far" => ca.unblock_network(BLOCKED[1], Some(&host)),
                "bogus" => trouble(Trouble::Bogus),
                "bogus-caa" => trouble(Trouble::BogusCaa),
                "account" => caa(&("accounturi", other.as_str())),
                _ => caa(&("validationmethods", "dns-01")),
            }
        }
    }

    /// URL of the operator's ACME account.
    async fn account(&self) -> String {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "ingress-acme");
        let all = secrets.list(&ListParams::default()).await.unwrap();
        all.iter().find_map(|secret| field(secret, "account.url")).unwrap()
    }

    /// Notes of the Warnings of an Ingress.
    async fn warnings(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "web");
        let all = events.list(&ListParams::default()).await.unwrap();
        let is_about = |event: &Event| {
            let about = event.regarding.as_ref().and_then(|about| about.name.as_deref());
            about == Some(name) && event.type_.as_deref() == Some("Warning")
        };
        all.into_iter().filter(is_about).filter_map(|event| event.note).collect()
    }

    /// All certificates by Ingress, oldest first.
    fn issued(&self) -> BTreeMap<String, Vec<Issued>> {
        let mut all = BTreeMap::<String, Vec<Issued>>::new();
        for issued in self.ca().issued() {
            let name = issued.names[0].split('.').nth(1).unwrap().to_owned();
            all.entry(name).or_default().push(issued);
        }
        all
    }

    /// Waits until each of these Ingresses has so many certificates, and its Secret the last one.
    async fn have(&self, names: &BTreeSet<String>, count: usize) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "web");
        eventually(&format!("{count} certificates each"), async || {
            let issued = self.issued();
            let of = |name: &String| issued.get(name).filter(|all| all.len() >= count);
            if !names.iter().all(|name| of(name).is_some()) {
                return false;
            }
            let installed = secrets.list(&ListParams::default()).await.unwrap();
            let serials: BTreeSet<String> = installed.iter().filter_map(serial).collect();
            names.iter().filter_map(of).all(|all| serials.contains(&all[all.len() - 1].serial))
        })
        .await;
        for (name, all) in self.issued() {
            assert!(!names.contains(&name) || all.len() == count, "{name}: {}", all.len());
        }
    }

    /// Each order led to a certificate or to a failed validation, and none was refused.
    fn check_costs(&self, certificates: u64) {
        let counts = self.ca().counts();
        assert_eq!((counts.certificates, counts.rate_limited), (certificates, 0), "{counts:?}");
        assert_eq!(counts.orders, certificates + counts.validations_failed, "{counts:?}");
    }
}

fn host(name: &str) -> String {
    format!("www.{name}.test") // a registered domain of its own, as of many customers
}

fn serial(secret: &Secret) -> Option<String> {
    let chain = String::from_utf8(secret.data.as_ref()?.get("tls.crt")?.0.clone()).ok()?;
    ingress_acme::pki::inspect(&chain, None).ok().map(|leaf| leaf.serial)
}

fn named(kind: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("{kind}{number}")).collect()
}

#[actix::test]
async fn the_ca_of_2029_costs_one_order_each_and_all_certificates_are_renewed_in_time() {
    let _alone = alone().await;
    let storm = Storm::start();
    let (long, short) = (named("long", FORTY_FIVE_DAYS), named("short", SIX_DAYS));
    let refused: BTreeSet<String> = REFUSED.map(|(name, ..)| name.to_owned()).into();
    storm.load("long0"); // registers the account
    storm.have(&named("long", 1), 1).await;
    storm.set_broken(true).await;
    for name in refused.iter().chain(long.iter().skip(1)).chain(&short) {
        storm.load(name);
    }
    refusals(&storm).await;
    storm.have(&long.union(&short).cloned().collect(), 1).await;
    storm.check_costs(88);

    // The hosts are mended. They are tried again in a day at most, and the six days are half over.
    storm.set_broken(false).await;
    storm.world.clock().advance(HALF_LIFE);
    storm.have(&refused, 1).await;
    storm.have(&short, 2).await;
    assert!(storm.issued().iter().all(|(name, all)| short.contains(name) || all.len() == 1));
    renewals_of_forty_five_days(&storm, &long, &short).await;
    mass_revocation(&storm, &long, &refused).await;
    storm.operator.end().unwrap();
}

/// Each Ingress that cannot be served has one Event that says why, after one order at most.
async fn refusals(storm: &Storm) {
    eventually("an Event for each refused Ingress", async || {
        for (name, ..) in REFUSED {
            if storm.warnings(name).await.is_empty() {
                return false;
            }
        }
        true
    })
    .await;
    for (name, _, words) in REFUSED {
        let warnings = storm.warnings(name).await;
        assert!(warnings.len() == 1 && warnings[0].contains(words), "{name}: {warnings:?}");
    }
    let orders: u64 = REFUSED.iter().map(|(_, orders, _)| orders).sum();
    assert_eq!(storm.ca().counts().validations_failed, orders);
}

/// Two thirds of 45 days are over. A jump of weeks outlasts certificates of six days, so their
/// Ingresses are deleted before.
async fn renewals_of_forty_five_days(
    storm: &Storm,
    long: &BTreeSet<String>,
    short: &BTreeSet<String>,
) {
    let ingresses: Api<Ingress> = Api::namespaced(storm.client.clone(), "web");
    for name in short {
        ingresses.delete(name, &DeleteParams::default()).await.unwrap();
    }
    storm.world.clock().advance(28 * DAY);
    storm.have(long, 2).await;
    for (name, all) in storm.issued() {
        for pair in all.windows(2) {
            assert!(pair[1].at < pair[0].not_after, "{name}: {pair:?}");
            assert_eq!(pair[1].replaces.as_ref(), Some(&pair[0].serial), "{name}");
        }
    }
    storm.check_costs(80 * 2 + 8 * 2 + 10);
}

/// The CA announces that it revokes all certificates in a day (RFC 9773 §4.2). The next look of the
/// operator at the renewal window is six hours later at most.
async fn mass_revocation(storm: &Storm, long: &BTreeSet<String>, refused: &BTreeSet<String>) {
    let announced = storm.world.clock().now();
    assert!(storm.ca().revoke_all(DAY, INCIDENT) >= long.len() + refused.len());
    storm.world.clock().advance(DAY / 2 + DAY / 24);
    storm.have(long, 3).await;
    storm.have(refused, 2).await;
    for name in long.union(refused) {
        let all = storm.issued().remove(name).unwrap();
        let [.., old, new] = &all[..] else { panic!("{name}: {all:?}") };
        assert_eq!(new.replaces.as_ref(), Some(&old.serial), "{name}");
        assert!(announced < new.at && new.at < old.revoked_at.unwrap(), "{name}: {all:?}");
        assert_eq!(new.revoked_at, None, "{name}");
    }
    storm.world.clock().advance(DAY);
    tokio::time::sleep(2 * SCAN).await; // anything due would be found by now
    storm.check_costs(80 * 3 + 8 * 2 + 10 * 2);
}
