//! Sites of users under the rules of ingress controllers: whatever the operator does, the user's
//! own path answers all the time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingress_acme_sim::dns::Trouble;
use ingress_acme_sim::gateway::{Merging, Rules, State};
use ingress_acme_sim::{Options, ca};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{alone, eventually, simulated};
use ingress_acme::commands::storm::Simulated;

/// Service of the users.
const SITE: &str = "web";
/// Class of the users' Ingresses.
const CLASS: &str = "public";

/// A controller, by its rules.
struct Controller {
    /// `spec.controller` of the class; `None` for a cluster without one.
    name: Option<&'static str>,
    rules: Rules,
    /// Whether writes are applied up to ten seconds late.
    is_late: bool,
    /// Annotations of the users' Ingresses.
    annotations: Value,
}

impl Controller {
    fn of(name: Option<&'static str>, merging: Merging) -> Self {
        let rules = Rules { merging, ..Rules::default() };
        Self { name, rules, is_late: false, annotations: json!({}) }
    }
}

/// Looks at the path of the users all the time.
struct Watch {
    hosts: Arc<Mutex<BTreeSet<String>>>,
    /// Hosts whose path did not answer, with what did.
    harmed: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    looks: std::thread::JoinHandle<()>,
}

impl Watch {
    fn start(gateway: Arc<State>) -> Self {
        let (hosts, harmed) = <(Arc<Mutex<BTreeSet<String>>>, Arc<Mutex<Vec<String>>>)>::default();
        let ended = Arc::new(AtomicBool::new(false));
        let (of_hosts, into, until) = (hosts.clone(), harmed.clone(), ended.clone());
        let looks = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                for host in of_hosts.lock().unwrap().iter() {
                    let found = gateway.service(host, "/");
                    if found.as_ref().is_none_or(|(service, _)| service != SITE) {
                        into.lock().unwrap().push(format!("{host}: {found:?}"));
                    }
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        Self { hosts, harmed, ended, looks }
    }

    /// Watches a site from its first answer on.
    async fn add(&self, gateway: &State, host: &str) {
        let answers = async || gateway.service(host, "/").is_some_and(|(to, _)| to == SITE);
        eventually("the site answers", answers).await;
        self.hosts.lock().unwrap().insert(host.to_owned());
    }

    fn remove(&self, host: &str) {
        self.hosts.lock().unwrap().remove(host);
    }

    fn end(self) -> Vec<String> {
        self.ended.store(true, Ordering::Relaxed);
        self.looks.join().unwrap();
        let harmed = self.harmed.lock().unwrap();
        harmed.iter().take(20).cloned().collect()
    }
}

/// A cluster under the rules of one controller.
struct Cluster {
    simulated: Simulated,
    client: Client,
    watch: Watch,
    annotations: Value,
}

impl Cluster {
    async fn start(controller: &Controller) -> Self {
        let simulated = simulated(Options::default()).await;
        let (world, client) = (simulated.world(), simulated.target().unwrap().client);
        let gateway = world.gateway().state();
        gateway.set_rules(controller.rules.clone());
        if controller.is_late {
            gateway.vary_delay(Duration::from_secs(10));
        }
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}});
        world.api().load(namespace).unwrap();
        if let Some(name) = controller.name {
            let class = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": CLASS}, "spec": {"controller": name},
            });
            world.api().load(class).unwrap();
        }
        world.dns().zone().set("dead.example.com", Some(Trouble::Dead));
        let watch = Watch::start(gateway.clone());
        Self { client, watch, annotations: controller.annotations.clone(), simulated }
    }

    fn ingresses(&self) -> Api<Ingress> {
        Api::namespaced(self.client.clone(), "web")
    }

    fn gateway(&self) -> &State {
        self.simulated.world().gateway().state()
    }

    /// Creates the Ingress `name` for the host `name`.example.com, and watches the site.
    async fn create(&self, name: &str) {
        let host = self.apply(name).await;
        self.watch.add(self.gateway(), &host).await;
    }

    async fn apply(&self, name: &str) -> String {
        let host = format!("{name}.example.com");
        self.apply_rules(name, &[json!({"host": host})], &[&host]).await;
        host
    }

    /// Creates the Ingress `name` with these rules, all of the site, and names of its certificate.
    async fn apply_rules(&self, name: &str, rules: &[Value], names: &[&str]) {
        let backend = json!({"service": {"name": SITE, "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        let mut rules = rules.to_vec();
        for rule in &mut rules {
            rule["http"] = json!({"paths": [path]});
        }
        let ingress = json!({
            "metadata": {"name": name, "annotations": self.annotations},
            "spec": {
                "ingressClassName": CLASS,
                "rules": rules,
                "tls": [{"hosts": names, "secretName": name}],
            },
        });
        let ingress = serde_json::from_value(ingress).unwrap();
        self.ingresses().create(&PostParams::default(), &ingress).await.unwrap();
    }

    /// Creates an Ingress whose rules name none of the hosts of its certificate: a wildcard serves
    /// the one, and a rule without a host the other.
    async fn create_unnamed(&self, name: &str) {
        let hosts = ["n.wild.example.com", "www.example.org"];
        let rules = [json!({"host": "*.wild.example.com"}), json!({})];
        self.apply_rules(name, &rules, &hosts).await;
        for host in hosts {
            self.watch.add(self.gateway(), host).await;
        }
    }

    /// Deletes an Ingress and makes it again, as some tools do: it is younger then.
    async fn create_again(&self, name: &str) {
        self.watch.remove(&format!("{name}.example.com"));
        self.ingresses().delete(name, &DeleteParams::default()).await.unwrap();
        let host = format!("{name}.example.com");
        let is_gone = async || self.gateway().service(&host, "/").is_none_or(|to| to.1);
        eventually("the site is gone", is_gone).await;
        self.create(name).await;
    }

    async fn renew(&self, name: &str, value: &str) {
        let renew = json!({"metadata": {"annotations": {"ingress-acme.dev/renew": value}}});
        let patch = Patch::Merge(renew);
        self.ingresses().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn chain(&self, name: &str) -> Option<Vec<u8>> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "web");
        let secret = secrets.get_opt(name).await.unwrap()?;
        secret.data?.remove("tls.crt").map(|chain| chain.0)
    }

    async fn notes(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "web");
        let events = api.list(&ListParams::default()).await.unwrap().items.into_iter();
        let about = |event: &Event| {
            let regarding = event.regarding.as_ref().and_then(|about| about.name.as_deref());
            regarding == Some(name) && event.reason.as_deref() == Some("Unreachable")
        };
        events.filter(about).filter_map(|event| event.note).collect()
    }

    /// Ends the operator. Returns the counts of the CA.
    async fn end(self) -> ca::Counts {
        let counts = self.simulated.world().ca().counts();
        let harmed = self.watch.end();
        assert!(harmed.is_empty(), "a site was off the air: {harmed:?}");
        assert!(self.simulated.end().await.unwrap().success());
        counts
    }
}

/// A storm with a dead host, renewals and Ingresses that are made again, where challenges can be
/// reached. The dead host keeps a solver Ingress, which grows old.
async fn all_are_served(controller: Controller) {
    let cluster = Cluster::start(&controller).await;
    cluster.create("dead").await;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        cluster.create(name).await;
    }
    let has = async |name: &str| cluster.chain(name).await.is_some();
    for name in names {
        eventually("its Secret", async || has(name).await).await;
    }
    for round in ["first", "second"] {
        let before = cluster.chain("a").await;
        cluster.renew("a", round).await;
        eventually("the renewal", async || cluster.chain("a").await != before).await;
    }
    cluster.create_again("b").await;
    cluster.create_again("dead").await;
    cluster.create("late").await;
    cluster.create_unnamed("unnamed").await;
    for name in ["b", "late", "unnamed"] {
        eventually("its Secret", async || has(name).await).await;
    }
    let before = cluster.chain("unnamed").await;
    cluster.renew("unnamed", "first").await;
    eventually("the renewal", async || cluster.chain("unnamed").await != before).await;
    let counts = cluster.end().await;
    assert_eq!((counts.validations_failed, counts.certificates), (0, counts.orders));
}

/// The same where the controller never serves the solver Ingress.
async fn all_are_told(controller: Controller, rule: &str, way_out: &str) {
    let cluster = Cluster::start(&controller).await;
    for name in ["dead", "a", "b"] {
        cluster.create(name).await;
    }
    for name in ["a", "b"] {
        eventually("an Event", async || !cluster.notes(name).await.is_empty()).await;
    }
    cluster.create_again("a").await;
    cluster.create("late").await;
    eventually("an Event", async || !cluster.notes("late").await.is_empty()).await;
    for name in ["b", "late"] {
        let notes = cluster.notes(name).await;
        assert!(notes.len() == 1 && notes[0].contains(rule), "{notes:?}");
        assert!(
            notes[0].contains(way_out) && notes[0].contains("The CA was not asked"),
            "{notes:?}"
        );
    }
    let counts = cluster.end().await;
    assert_eq!((counts.orders, counts.validations_failed), (0, 0));
}

#[actix::test]
async fn under_the_rule_of_each_controller_a_place_leads_to_the_solver_and_no_site_is_harmed() {
    let _alone = alone().await;
    let by_path = Controller::of(None, Merging::ByPath);
    let late = Controller { is_late: true, ..Controller::of(None, Merging::ByPath) };
    let f5 = Controller::of(Some("nginx.org/ingress-controller"), Merging::OldestHasHost);
    let annotations = json!({"nginx.org/mergeable-ingress-type": "master"});
    let masters = Controller { annotations, ..f5 };
    let placed = |name, merging, place: &str| {
        let annotations = json!({"ingress-acme.dev/solver-place": place});
        Controller { annotations, ..Controller::of(Some(name), merging) }
    };
    let openshift =
        placed("openshift.io/ingress-to-route", Merging::OldestNamespaceHasHost, "namespace");
    let cilium = placed("cilium.io/ingress-controller", Merging::AddressPerIngress, "in-place");
    let f5 = placed("nginx.org/ingress-controller", Merging::OldestHasHost, "in-place");
    let slow = Controller { is_late: true, ..placed("any", Merging::ByPath, "in-place") };
    tokio::join!(
        all_are_served(by_path),
        all_are_served(late),
        all_are_served(masters),
        all_are_served(openshift),
        all_are_served(cilium),
        all_are_served(f5),
        all_are_served(slow),
    );
}

#[actix::test]
async fn under_the_rules_of_controllers_that_never_reach_it_users_are_told_the_rule_and_the_way_out()
 {
    let _alone = alone().await;
    let f5 = Controller::of(Some("nginx.org/ingress-controller"), Merging::OldestHasHost);
    let openshift =
        Controller::of(Some("openshift.io/ingress-to-route"), Merging::OldestNamespaceHasHost);
    let aws = Controller::of(Some("ingress.k8s.aws/alb"), Merging::AddressPerIngress);
    tokio::join!(
        all_are_told(f5, "oldest Ingress that names it", "mergeable-ingress-type: master"),
        all_are_told(openshift, "the namespace that named it first", "InterNamespaceAllowed"),
        all_are_told(aws, "a load balancer for each Ingress", "group.name"),
    );
}

#[actix::test]
async fn a_controller_that_does_not_see_the_solver_ingress_costs_no_order_and_users_are_told() {
    let _alone = alone().await;
    let mut by_namespace = Controller::of(None, Merging::ByPath);
    by_namespace.rules.unseen_namespaces = ["ingress-acme".to_owned()].into();
    let mut by_class = Controller::of(None, Merging::ByPath);
    by_class.rules.unseen_classes = [CLASS.to_owned()].into();
    let unserved = async {
        let cluster = Cluster::start(&by_class).await;
        cluster.apply("a").await;
        eventually("an Event", async || !cluster.notes("a").await.is_empty()).await;
        assert_eq!(cluster.end().await.orders, 0);
    };
    tokio::join!(
        all_are_told(by_namespace, "does not lead to the solver", "the ingress controller"),
        unserved
    );
}
