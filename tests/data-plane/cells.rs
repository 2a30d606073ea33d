//! The cells of the table in docs/testing.md, one method each.

use std::time::Duration;

use ingress_acme_control_plane::{
    ADDRESS, Controller, Operator, OperatorOptions, World, apply_yaml, eventually,
};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;
use x509_parser::pem::parse_x509_pem;

use crate::controllers::Kind;
use crate::polls::{Poll, Visitor};
use crate::sites::{Class, NAMESPACES, SOLVER, Site, set_up, start_backend};

/// Deadline of a wait, long enough for a slow and busy machine.
const PATIENCE: Duration = Duration::from_mins(4);
/// Renewals of one host.
const RENEWALS: usize = 3;

/// Prints a figure directly to stderr, past the test runner's capture.
macro_rules! figure {
    ($($text:tt)*) => {
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("figure: {}\n", format_args!($($text)*)))
    };
}

const RIGHTS: &str = include_str!("../../deploy/solver-in-namespaces.yaml");
/// What the command in that file makes.
const BINDING: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ingress-acme-solver, namespace: team-1}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ingress-acme-solver}
subjects: [{kind: ServiceAccount, name: ingress-acme, namespace: ingress-acme}]
";

/// One controller with the operator behind it.
pub(crate) struct Table<'a> {
    _operator: Operator,
    _controller: Controller,
    world: &'a World,
    client: Client,
    kind: &'a Kind,
    /// Root of the issued certificates, in PEM.
    root: String,
}

/// Orders and failed validations at the CA so far.
struct Counts {
    orders: usize,
    failed: usize,
}

impl<'a> Table<'a> {
    /// Starts the parts, the operator last: an Ingress waits for it that is older than any solver
    /// Ingress, and is served over HTTP before.
    pub(crate) async fn start(world: &'a World, kind: &'a Kind) -> Self {
        let client = world.admin();
        start_backend();
        set_up(world, kind.class, kind.class_controller).await;
        let old = Site::new("team-0", "old");
        old.create(&client, kind).await;
        let controller = kind.start(world).await;
        let polls = watch(kind, std::slice::from_ref(&old)).await;
        let root = world.issuing_roots_pem().await.expect("the CA shows its root");
        let solver = format!("--solver-bind={ADDRESS}:{SOLVER}");
        let options = OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme")).args([solver]);
        let options = options.args(kind.operator.iter().copied());
        let operator = world.start_operator(options).await.expect("the operator starts");
        let table =
            Self { _operator: operator, _controller: controller, world, client, kind, root };
        table.issued("old", &[old], polls, 0).await;
        table
    }

    /// An Ingress without `spec.tls`.
    pub(crate) async fn no_tls(&self) {
        self.issue("a", vec![Site::new("team-0", "a")]).await;
    }

    /// An Ingress that names its Secret, which is not there yet.
    pub(crate) async fn tls_from_the_start(&self) {
        self.issue("b", vec![Site::new("team-0", "b").tls()]).await;
    }

    /// The class in the annotation, and the default class.
    pub(crate) async fn classes(&self) {
        let annotated = Site::new("team-0", "annotated").class(Class::Annotation);
        let default = Site::new("team-0", "default").class(Class::Default);
        self.issue("class", vec![annotated, default]).await;
    }

    /// The user's own paths, rewrites, authentication, redirects and allow-lists.
    pub(crate) async fn own_settings(&self) {
        let own = (self.kind.own)();
        if !own.is_empty() {
            self.issue("own", own).await;
        }
    }

    /// The solver route in the user's namespace, and in the user's Ingress.
    pub(crate) async fn places(&self) {
        for yaml in [RIGHTS, BINDING] {
            apply_yaml(&self.client, yaml).await.expect("the rights in team-1");
        }
        let site = |name: &str, place: &str| {
            Site::new("team-1", name).annotation("ingress-acme.dev/solver-place", place)
        };
        let sites = vec![
            site("beside", "namespace"),
            site("within", "in-place"),
            site("within-tls", "in-place").tls(),
        ];
        self.issue("place", sites).await;
        let services: Api<Service> = Api::namespaced(self.client.clone(), "team-1");
        eventually(PATIENCE, "the solver's Service is gone", async || {
            let left = services.get_opt("ingress-acme-solver").await.ok()?;
            left.is_none().then_some(())
        })
        .await;
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), "team-1");
        let left = ingresses.list(&ListParams::default()).await.expect("the Ingresses").items;
        let names: Vec<_> = left.iter().filter_map(|one| one.metadata.name.as_deref()).collect();
        assert_eq!(names, ["beside", "within", "within-tls"]);
        let marks = left.iter().filter_map(|one| one.metadata.annotations.as_ref());
        assert!(marks.into_iter().all(|all| !all.contains_key("ingress-acme.dev/in-place")));
    }

    /// Twenty Ingresses over four namespaces, of every kind above.
    pub(crate) async fn twenty(&self) {
        let five = |namespace| {
            let site = |number: usize| Site::new(namespace, &format!("many-{number}"));
            [
                site(0),
                site(1).tls(),
                site(2).class(Class::Annotation),
                site(3).class(Class::Default),
                site(4).class(Class::Annotation).tls(),
            ]
        };
        self.issue("20", NAMESPACES.into_iter().flat_map(five).collect()).await;
    }

    /// Renewals of one host while HTTPS is served: each new certificate is served, and no request
    /// fails. Each begins when the route of the last one is withdrawn: a controller that follows
    /// late still has the old route then, and withdraws the new one.
    pub(crate) async fn renewals(&self) {
        let site = Site::new("team-0", "a");
        let before = self.counts();
        let poll = Poll::start(Visitor::https(&site.host, &self.root));
        let mut took = Vec::new();
        for number in 0..RENEWALS {
            let old = self.certificate(&site).await.expect("there since cell a");
            self.routes_withdrawn().await;
            let began = Instant::now();
            self.renew(&site, number).await;
            eventually(PATIENCE, "a new certificate in the Secret", async || {
                self.certificate(&site).await.filter(|new| *new != old)
            })
            .await;
            self.served(&site).await;
            took.push(format!("{:.1} s", began.elapsed().as_secs_f32()));
        }
        let (requests, took) = (poll.end(&site.host, 200), took.join(", "));
        self.assert_cost("renew", &before, RENEWALS);
        figure!("{}: renew: {took}; {requests} HTTPS requests, all 200", self.kind.name);
    }

    /// No solver Ingress is left, and each order brought a certificate.
    pub(crate) async fn end(&self) {
        self.routes_withdrawn().await;
        let orders = self.world.orders_created();
        assert_eq!(self.world.certificates_issued(), orders, "a certificate for each order");
        figure!(
            "{}: {orders} orders, 0 failed validations, no solver Ingress left",
            self.kind.name
        );
    }

    async fn routes_withdrawn(&self) {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), "ingress-acme");
        eventually(PATIENCE, "the solver Ingresses are gone", async || {
            let left = api.list(&ListParams::default()).await.ok()?;
            left.items.is_empty().then_some(())
        })
        .await;
    }

    /// Creates the Ingresses and waits until each is served over HTTPS with its certificate.
    async fn issue(&self, cell: &str, sites: Vec<Site>) {
        let orders = self.counts().orders;
        for site in &sites {
            site.create(&self.client, self.kind).await;
        }
        let polls = watch(self.kind, &sites).await;
        self.issued(cell, &sites, polls, orders).await;
    }

    async fn issued(&self, cell: &str, sites: &[Site], polls: Vec<Poll>, orders: usize) {
        let before = Counts { orders, failed: 0 };
        let began = Instant::now();
        for site in sites {
            self.served(site).await;
        }
        let took = began.elapsed().as_secs_f32();
        let ended = polls.into_iter().zip(sites);
        let requests: usize =
            ended.map(|(poll, site)| poll.end(&site.host, self.kind.http(site))).sum();
        self.assert_cost(cell, &before, sites.len());
        figure!(
            "{}: {cell}: {} in {took:.1} s, {requests} HTTP requests, all as before",
            self.kind.name,
            sites.len()
        );
    }

    /// Waits until the controller serves the certificate of the Secret, whose chain ends at the
    /// CA's root.
    async fn served(&self, site: &Site) {
        let visitor = Visitor::https(&site.host, &self.root);
        let what = format!("HTTPS {} at {} with its certificate", site.https, site.host);
        eventually(PATIENCE, &what, async || {
            let wanted = self.certificate(site).await?;
            let answer = visitor.status_and_certificate().await.ok()?;
            (answer == (site.https, wanted)).then_some(())
        })
        .await;
    }

    /// The certificate in the Secret, in DER, without its chain.
    async fn certificate(&self, site: &Site) -> Option<Vec<u8>> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), site.namespace);
        let secret = api.get_opt(&site.secret()).await.expect("the API server answers")?;
        let chain = secret.data?.remove("tls.crt")?;
        Some(parse_x509_pem(&chain.0).ok()?.1.contents)
    }

    async fn renew(&self, site: &Site, value: usize) {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), site.namespace);
        let annotations = json!({ "ingress-acme.dev/renew": value.to_string() });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        api.patch(&site.name, &PatchParams::default(), &patch).await.expect("the annotation");
    }

    fn counts(&self) -> Counts {
        Counts { orders: self.world.orders_created(), failed: self.world.validations_failed() }
    }

    /// One order for each certificate, and no validation that failed.
    fn assert_cost(&self, cell: &str, before: &Counts, certificates: usize) {
        let now = self.counts();
        let spent = (now.orders - before.orders, now.failed - before.failed);
        assert_eq!(spent, (certificates, 0), "{cell}: orders and failed validations");
    }
}

/// Polls the sites over plain HTTP from their first right answer on.
async fn watch(kind: &Kind, sites: &[Site]) -> Vec<Poll> {
    let mut polls = Vec::new();
    for site in sites {
        let visitor = Visitor::http(&site.host);
        let status = kind.http(site);
        let what = format!("HTTP {status} at {}", site.host);
        eventually(PATIENCE, &what, async || {
            (visitor.status().await.ok()? == status).then_some(())
        })
        .await;
        polls.push(Poll::start(visitor));
    }
    polls
}
