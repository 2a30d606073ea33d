//! Faults of the CA, of DNS, of the API server and of clients, under one leader.

use std::time::Duration;

use ingress_acme_actors::domain::new_orders::{LEASE, NEW_ORDERS_ANNOTATION, STOPPED};
use ingress_acme_sim::ca::{Limits, Rate};
use ingress_acme_sim::dns::Trouble;
use ingress_acme_sim::kube::User;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Alerts, NAMESPACES, Site, idle_connections};
use crate::eventually;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// Age of the first certificates when Prometheus starts: 22 days after their renewal is due, of the
/// 30 days that they have then.
const AGE: Duration = Duration::from_hours(82 * 24);
/// Time by which the world is behind then: more than two hours, for a scan that is stale.
const BEHIND: Duration = Duration::from_hours(3);
/// Part of it that is kept for the faults after that one.
const KEPT: Duration = Duration::from_mins(10);
/// Begin of the world, before the start of Prometheus.
pub(super) const PAST: Duration = AGE.saturating_add(BEHIND);
/// Ingresses that want a certificate at once: more than there are workers.
const MANY: usize = 150;
/// Ingresses whose Secrets cannot be read.
const UNREAD: usize = 6;
/// Ingresses for which the account may open no order, but for the first.
const LIMITED: usize = 5;
const JOB: &str = "site";

/// Issues three certificates, whose hosts do not resolve any more when they are due.
pub(super) async fn certificates_grow_old(site: &mut Site) {
    site.start();
    site.add("old", 3);
    site.has_certificates(3).await;
    // Its last record is written, and its Secret too.
    eventually("no work", async || is_idle(site).await).await;
    site.world.dns().zone().set("old.test", Some(Trouble::NxDomain));
    site.world.clock().advance(AGE);
}

/// Whether no Ingress has work, by the API of the operator.
async fn is_idle(site: &Site) -> bool {
    let url = format!("http://{}/api/v1/ingresses", site.admin);
    let Ok(answer) = reqwest::get(url).await else { return false };
    let text = answer.text().await.unwrap_or_default();
    text.contains("\"role\":\"leader\"") && text.matches("\"phase\":null").count() >= 3
}

pub(super) async fn of_certificates(site: &mut Site, alerts: &Alerts) {
    let renewals = [
        "IngressAcmeRenewalOverdue",
        "IngressAcmeCertificateExpires",
        "IngressAcmeRenewalMarginBurns",
    ];
    for name in renewals {
        alerts.fires(name, JOB).await;
    }
    alerts.fires("IngressAcmeScanStale", JOB).await;
    site.world.clock().advance(BEHIND.saturating_sub(KEPT));
    alerts.clears("IngressAcmeScanStale", JOB).await;
    site.world.dns().zone().set("old.test", None);
    site.has_certificates(6).await;
    for name in renewals {
        alerts.clears(name, JOB).await;
    }
    the_ca_does_not_answer(site, alerts).await;
    rights_are_missing(site, alerts).await;
    idle_clients(site, alerts).await;
    the_configuration_is_bad(site, alerts).await;
    new_orders_are_stopped(site, alerts).await;
    the_ca_limits_the_account(site, alerts).await;
    // Its long window is that of six hours.
    alerts.clears("IngressAcmeReadinessBurnsSlowly", JOB).await;
    let all =
        ["IngressAcmeReadinessBurnsFast", "IngressAcmeIssuanceFailing", "IngressAcmeQueueWaits"];
    alerts.are_quiet(&all, JOB).await;
}

/// All workers wait for the CA, and six minutes pass.
async fn the_ca_does_not_answer(site: &Site, alerts: &Alerts) {
    let slos = ["IngressAcmeReadinessBurnsFast", "IngressAcmeReadinessBurnsSlowly"];
    alerts.are_quiet(&slos, JOB).await;
    alerts.are_quiet(&["IngressAcmeQueueWaits"], JOB).await;
    site.world.ca().freeze(true);
    site.add("many", MANY);
    let queued = "sum(ingress_acme_runs{job=\"site\", state=\"queued\"}) > 20";
    eventually(queued, async || alerts.prometheus.has(queued).await).await;
    site.world.clock().advance(6 * MINUTE);
    for name in slos {
        alerts.fires(name, JOB).await;
    }
    alerts.fires("IngressAcmeQueueWaits", JOB).await;
    site.world.ca().freeze(false);
    alerts.clears("IngressAcmeQueueWaits", JOB).await;
    site.has_certificates(6 + MANY as u64).await;
    alerts.clears("IngressAcmeReadinessBurnsFast", JOB).await;
}

/// The operator may neither read TLS Secrets nor send Events.
async fn rights_are_missing(site: &Site, alerts: &Alerts) {
    let api = site.world.api();
    let rights = [("get", "secrets"), ("create", "events")];
    for (verb, resource) in rights {
        api.forbid(verb, resource, true);
    }
    site.add("unread", UNREAD);
    for number in 0..12 {
        let name = format!("wildcard{number}");
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": NAMESPACES[0], "name": name},
            "spec": {"rules": [{"host": format!("*.{name}.test")}]},
        });
        api.load(ingress).unwrap();
    }
    alerts.fires("IngressAcmeIssuanceFailing", JOB).await;
    alerts.fires("IngressAcmeEventsDropped", JOB).await;
    for (verb, resource) in rights {
        api.forbid(verb, resource, false);
    }
    alerts.clears("IngressAcmeIssuanceFailing", JOB).await;
    alerts.clears("IngressAcmeEventsDropped", JOB).await;
}

/// A client opens far more connections than the port has places for.
async fn idle_clients(site: &Site, alerts: &Alerts) {
    let connections = idle_connections(site.admin, 300);
    alerts.fires("IngressAcmeConnectionsDropped", JOB).await;
    drop(connections);
    alerts.clears("IngressAcmeConnectionsDropped", JOB).await;
}

/// A Secret says that it is a DNS account, and is none.
async fn the_configuration_is_bad(site: &Site, alerts: &Alerts) {
    let metadata = json!({
        "namespace": "ingress-acme", "name": "dns-bad", "labels": {"ingress-acme.dev/dns-account": "true"},
    });
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata});
    site.world.api().load(secret.clone()).unwrap();
    alerts.fires("IngressAcmeBadConfiguration", JOB).await;
    site.world.api().unload(&secret);
    alerts.clears("IngressAcmeBadConfiguration", JOB).await;
}

/// An administrator stops new orders, and allows them again.
async fn new_orders_are_stopped(site: &Site, alerts: &Alerts) {
    let client = Client::try_from(site.world.api().config(User::Admin)).unwrap();
    let leases: Api<Lease> = Api::namespaced(client, "ingress-acme");
    let annotate = async |value: Value| {
        let annotations = json!({"metadata": {"annotations": {NEW_ORDERS_ANNOTATION: value}}});
        let patch = Patch::Merge(annotations);
        leases.patch(LEASE, &PatchParams::default(), &patch).await.unwrap();
    };
    annotate(json!(STOPPED)).await;
    alerts.fires("IngressAcmeNewOrdersStopped", JOB).await;
    annotate(Value::Null).await;
    alerts.clears("IngressAcmeNewOrdersStopped", JOB).await;
}

/// The account may open one order in three hours. The Ingresses that wait are deleted; afterwards
/// three hours are over, their turns have passed, and the world is ahead of Prometheus.
async fn the_ca_limits_the_account(site: &Site, alerts: &Alerts) {
    let orders = Some(Rate { count: 1, per: 3 * HOUR });
    site.world.ca().set_limits(Limits { orders, ..Limits::unlimited() });
    site.add("limited", LIMITED);
    alerts.fires("IngressAcmeRateLimited", JOB).await;
    site.world.ca().set_limits(Limits::unlimited());
    site.remove("unread", UNREAD);
    site.remove("limited", LIMITED);
    site.world.clock().advance(3 * HOUR + 5 * MINUTE);
    alerts.clears("IngressAcmeRateLimited", JOB).await;
}
