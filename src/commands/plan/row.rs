//! One line of `plan`: an Ingress, one of its Secrets, and what the operator would do.

use ingress_acme_actors::domain::cas::Source;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressRef, SecretKey};
use ingress_acme_actors::domain::issuance::{Outlook, outlook};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use serde::Serialize;

use super::survey::Survey;
use crate::commands::status::row::{INGRESSES, NONE, brief};

/// Name of the install in texts: each Secret with our label counts as one of this install.
const INSTALL: &str = "ingress-acme";

/// Whether an Ingress gets a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Served {
    /// As it asks.
    Yes,
    /// With a difference from what it asks; the reason says which.
    Partly,
    /// None; the reason says why.
    No,
}

/// Order for a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// Counts in the CA's limits.
    New,
    /// Replaces a certificate of this CA (ARI).
    Renewal,
}

/// One line of output, with the fields of `-o json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Row {
    pub(super) namespace: String,
    pub(super) ingress: String,
    pub(super) served: Served,
    pub(super) secret: Option<String>,
    /// Whether `spec.tls` is filled in.
    pub(super) fills_tls: bool,
    /// Order that comes first; `None` where the certificate is good or left as it is.
    pub(super) order: Option<Order>,
    /// Name of the CA, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<String>,
    /// Names of the certificate.
    pub(super) names: Vec<String>,
    pub(super) reason: String,
}

/// Plan of one Ingress.
#[derive(Debug)]
pub(super) struct Planned {
    /// One row for each certificate, or a single one without.
    pub(super) rows: Vec<Row>,
    /// Its certificates. Others may share them.
    pub(super) certificates: Certificates,
}

/// Plans an Ingress; `None` if it is unknown.
fn planned(survey: &Survey, key: &IngressKey) -> Option<Planned> {
    let alone =
        |why: &str| Planned { rows: vec![Row::without(key, why)], certificates: Vec::new() };
    if survey.unwatched.contains_key(key) {
        return Some(alone("its namespace is not among those of --watch-namespace"));
    }
    survey.index.view(key)?;
    let secrets = survey.index.secrets(key);
    let skip = survey.index.skip(key);
    let has_one = || secrets.iter().any(|secret| survey.is_ours(secret));
    if let Some(why) = skip.filter(|why| !why.renews() || !has_one()) {
        return Some(alone(&why.to_string()));
    }
    let problems = survey.index.problems(key).into_iter().flatten();
    let mut problems: Vec<String> = problems.map(|problem| problem.to_string()).collect();
    problems.extend(skip.map(|why| format!("only what it has is renewed, because {why}")));
    let desired = secrets.iter().filter_map(|secret| survey.index.desired(secret));
    let desired = desired.filter(|desired| !desired.names.is_empty());
    let desired = desired.map(|desired| survey.without_fill(key, desired, &mut problems));
    let desired: Vec<DesiredCertificate> = desired.collect();
    let (rows, certificates) = rows(survey, key, desired, &problems);
    if rows.is_empty() {
        return Some(alone(&problems.join("; ")));
    }
    Some(Planned { rows, certificates })
}

type Certificates = Vec<(DesiredCertificate, Option<Order>)>;

/// A row for each certificate of an Ingress, and those that are served.
fn rows(
    survey: &Survey,
    key: &IngressKey,
    desired: Vec<DesiredCertificate>,
    problems: &[String],
) -> (Vec<Row>, Certificates) {
    let (mut rows, mut certificates) = (Vec::new(), Vec::new());
    for desired in desired {
        let found = survey.secrets.get(&desired.secret).cloned().flatten();
        let ca = survey.cas.choice_for(&desired, found.as_ref()).ca;
        let outlook = outlook(
            &desired,
            found.clone(),
            (&ca.directory, survey.cas.reissues_now()),
            INSTALL,
            survey.now,
        );
        let order = match outlook {
            Outlook::Ordered { replaces: true, .. } => Some(Order::Renewal),
            Outlook::Ordered { .. } => Some(Order::New),
            Outlook::Kept | Outlook::Refused(_) | Outlook::Undecided => None,
        };
        let refused = outlook.refusal(found.as_ref());
        let row = Row::of(key, &desired, order, refused.as_deref(), problems);
        let named = survey.cas.source == Source::File;
        rows.push(Row { ca: named.then(|| ca.name.clone()), ..row });
        certificates.extend(refused.is_none().then_some((desired, order)));
    }
    (rows, certificates)
}

impl Survey {
    /// Plan of each Ingress that is shown.
    pub(super) fn planned(&self) -> Vec<Planned> {
        self.shown.iter().filter_map(|key| planned(self, key)).collect()
    }

    /// Leaves a `spec.tls` alone that another writer owns, with the reason as a problem.
    fn without_fill(
        &self,
        key: &IngressKey,
        mut desired: DesiredCertificate,
        problems: &mut Vec<String>,
    ) -> DesiredCertificate {
        let is_own = |ingress: &IngressRef| ingress.key == *key;
        if self.not_to_fill.contains(key) && desired.fill.keys().any(is_own) {
            desired.fill.retain(|ingress, _| !is_own(ingress));
            let why = "another writer (kubectl apply --server-side, Helm or GitOps) applies an empty spec.tls";
            problems.push(format!("{why}, which is not filled in"));
        }
        desired
    }

    fn is_ours(&self, secret: &SecretKey) -> bool {
        let found = self.secrets.get(secret).and_then(Option::as_ref);
        found.is_some_and(|found| found.ours)
    }
}

impl Row {
    /// Row of an Ingress without a certificate.
    fn without(key: &IngressKey, why: &str) -> Self {
        Self {
            namespace: key.namespace.to_string(),
            ingress: key.name.to_string(),
            served: Served::No,
            secret: None,
            fills_tls: false,
            order: None,
            ca: None,
            names: Vec::new(),
            reason: cut(why, limits::ROW_DETAIL),
        }
    }

    /// Row of a certificate; `refused` says why there will be none.
    fn of(
        key: &IngressKey,
        desired: &DesiredCertificate,
        order: Option<Order>,
        refused: Option<&str>,
        problems: &[String],
    ) -> Self {
        let served = match (refused, problems) {
            (Some(_), _) => Served::No,
            (None, []) => Served::Yes,
            (None, _) => Served::Partly,
        };
        let problems = problems.iter().map(String::as_str);
        let reasons: Vec<&str> = refused.into_iter().chain(problems).collect();
        let fills_tls = desired.fill.keys().any(|ingress| ingress.key == *key);
        Self {
            served,
            secret: Some(desired.secret.name.to_string()),
            fills_tls: fills_tls && served != Served::No,
            order,
            names: desired.names.iter().map(DnsName::to_string).collect(),
            ..Self::without(key, &reasons.join("; "))
        }
    }

    /// Name of the Ingress with its kind, as kubectl prints and takes it.
    pub(super) fn resource(&self) -> String {
        format!("{INGRESSES}/{}", self.ingress)
    }

    /// Header of the table.
    pub(super) fn header(all_namespaces: bool, wide: bool) -> Vec<String> {
        let place = all_namespaces.then_some("NAMESPACE");
        let all = place.into_iter().chain(["NAME", "SERVED", "SECRET", "FILLS TLS"]);
        let all = all.chain(wide.then_some("ORDER")).chain(["HOSTS", "REASON"]);
        all.map(str::to_owned).collect()
    }

    /// Cells of the table, under [`Self::header`].
    pub(super) fn cells(&self, all_namespaces: bool, wide: bool) -> Vec<String> {
        let mut cells: Vec<String> =
            all_namespaces.then(|| self.namespace.clone()).into_iter().collect();
        let or_none = |text: Option<&str>| text.unwrap_or(NONE).to_owned();
        let fills = if self.fills_tls { "Yes" } else { "No" };
        cells.extend([
            self.ingress.clone(),
            format!("{:?}", self.served),
            or_none(self.secret.as_deref()),
            fills.to_owned(),
        ]);
        let order = self.order.map(|order| match order {
            Order::New => "New",
            Order::Renewal => "Renewal",
        });
        let at = self.ca.as_ref().map(|ca| format!(" at {ca}")).unwrap_or_default();
        cells.extend(wide.then(|| order.map_or_else(|| NONE.to_owned(), |it| format!("{it}{at}"))));
        cells.push(match &self.names[..] {
            [] => NONE.to_owned(),
            [only] => only.clone(),
            all if wide => all.join(","),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        });
        cells.push(brief(&self.reason));
        cells
    }
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::desired::selection::Selection;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::ingresses::view;

    fn row(namespace: &str, hosts: &[&str], annotations: &Value) -> Row {
        let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
        let ingress = json!({
            "metadata": {"namespace": namespace, "name": "shop", "annotations": annotations},
            "spec": {"rules": rules, "tls": [{"hosts": hosts, "secretName": "shop"}]},
        });
        let view = view(&serde_json::from_value(ingress).unwrap());
        let survey = Survey::of_views(vec![view], Selection::default());
        let [planned] = &survey.planned()[..] else { panic!("one Ingress") };
        let [row] = &planned.rows[..] else { panic!("one row") };
        row.clone()
    }

    #[test]
    fn an_ingress_is_served_or_the_row_says_why_it_is_not() {
        let good = row("web", &["shop.example.com"], &json!({}));
        assert_eq!((good.served, good.order, &*good.reason), (Served::Yes, Some(Order::New), ""));
        let mixed = row("web", &["shop.example.com", "*.example.com"], &json!({}));
        assert_eq!(
            (mixed.served, &mixed.names[..]),
            (Served::Partly, &["shop.example.com".to_owned()][..])
        );
        assert!(mixed.reason.contains("*.example.com"), "{}", mixed.reason);
        let wild = row("web", &["*.example.com"], &json!({}));
        assert_eq!((wild.served, wild.order, wild.secret), (Served::No, None, None));
        let off = row("web", &["shop.example.com"], &json!({"ingress-acme.dev/enabled": "false"}));
        assert_eq!((off.served, off.order), (Served::No, None));
        assert!(off.reason.contains("ingress-acme.dev/enabled"), "{}", off.reason);
    }

    #[test]
    fn an_ingress_of_a_namespace_that_is_not_watched_is_not_served() {
        let row = row("elsewhere", &["shop.example.com"], &json!({}));
        assert_eq!((row.served, row.order), (Served::No, None));
        assert!(row.reason.contains("--watch-namespace"), "{}", row.reason);
    }

    #[test]
    fn too_many_hosts_for_one_certificate_cost_no_order_and_are_told() {
        let hosts: Vec<String> = (0..101).map(|n| format!("h{n}.example.com")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let row = row("web", &hosts, &json!({}));
        assert_eq!((row.served, row.order, row.fills_tls), (Served::No, None, false));
        assert!(row.reason.contains("100"), "{}", row.reason);
    }
}
