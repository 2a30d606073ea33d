//! One line of `status`: an Ingress, one of its Secrets, and the state of the certificate.

use std::fmt;

use ingress_acme_actors::domain::certificate::SecretView;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate;
use ingress_acme_actors::domain::ingress::IngressView;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::check::{Assessment, IssueReason, check, serves};
use ingress_acme_actors::domain::validity::renewal::{AriStatus, renewal};
use serde::Serialize;

use super::age::age;
use super::user_events::UserEvent;

/// Ingresses as kubectl names them before a slash.
pub(in crate::commands) const INGRESSES: &str = "ingress.networking.k8s.io";
/// Number of characters of a detail in the table, whose last column it is. `explain` has all of it.
const DETAIL: usize = 200;
/// Text of kubectl for a value that is not there.
pub(in crate::commands) const NONE: &str = "<none>";

/// State of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Valid.
    Valid,
    /// Valid, and due for renewal or requested to be renewed.
    Renewing,
    /// Valid for a subset of the names; no certificate can be issued for the others.
    Partial,
    /// No usable certificate; issuance in progress.
    Pending,
    /// No usable certificate; the last attempt failed.
    Failing,
    /// Not managed by ingress-acme.
    Skipped,
    /// The Ingress was deleted while it was watched.
    Deleted,
}

impl State {
    /// Whether the Secret has a valid certificate for all names; `None` where none is expected.
    fn is_ready(self) -> Option<bool> {
        match self {
            Self::Valid | Self::Renewing => Some(true),
            Self::Partial | Self::Pending | Self::Failing => Some(false),
            Self::Skipped | Self::Deleted => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// One line of output, with the fields of `-o json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Row {
    namespace: String,
    ingress: String,
    secret: Option<String>,
    state: State,
    names: Vec<String>,
    issuer: Option<String>,
    /// Directory of the CA, where the operator has noted it.
    ca: Option<String>,
    not_after: Option<String>,
    renewal: Option<String>,
    /// Start of the current state: the time of the last Event or, if there are no Events any more,
    /// the certificate's `notBefore`.
    since: Option<String>,
    detail: String,
    /// Whether the Secret has a valid certificate for all names; `None` where none is expected.
    ready: Option<bool>,
    /// Creation of the Ingress.
    created: String,
    #[serde(skip)]
    born: Timestamp,
}

impl Row {
    /// Creates the row of an Ingress that is not managed, with the reason.
    pub(super) fn skipped(view: &IngressView, why: &str) -> Self {
        Self {
            namespace: view.key.namespace.to_string(),
            ingress: view.key.name.to_string(),
            secret: None,
            state: State::Skipped,
            names: Vec::new(),
            issuer: None,
            ca: None,
            not_after: None,
            renewal: None,
            since: None,
            detail: cut(why, limits::ROW_DETAIL),
            ready: None,
            created: view.created.to_string(),
            born: view.created,
        }
    }

    /// The row after the deletion of its Ingress.
    pub(super) fn deleted(&self) -> Self {
        let state = State::Deleted;
        let detail = "the Ingress was deleted".to_owned();
        Self { state, ready: state.is_ready(), since: None, detail, ..self.clone() }
    }

    /// Subject of the row: namespace, Ingress and Secret.
    pub(super) fn subject(&self) -> (&str, &str, Option<&str>) {
        (&self.namespace, &self.ingress, self.secret.as_deref())
    }

    /// Name of the Ingress with its kind, as kubectl prints and takes it.
    pub(super) fn resource(&self) -> String {
        format!("{INGRESSES}/{}", self.ingress)
    }

    /// Creates the row of a certificate from the Secret as read.
    pub(super) fn of(
        view: &IngressView,
        desired: &DesiredCertificate,
        read: &Result<Option<SecretView>, String>,
        last: Option<&UserEvent>,
        now: Timestamp,
    ) -> Self {
        let secret = read.as_ref().ok().and_then(Option::as_ref);
        let leaf = secret.and_then(|secret| secret.certificate.as_ref().ok());
        let (state, detail) = state_of(desired, read, last, now);
        Self {
            secret: Some(desired.secret.name.to_string()),
            names: desired.names.iter().map(DnsName::to_string).collect(),
            issuer: leaf.map(|leaf| leaf.issuer.clone()),
            ca: secret.filter(|secret| secret.ours).and_then(|secret| secret.directory.clone()),
            not_after: leaf.map(|leaf| leaf.not_after.to_string()),
            renewal: leaf.map(|leaf| renewal(leaf, AriStatus::None).to_string()),
            since: last
                .map(|event| event.at().to_owned())
                .or_else(|| leaf.map(|leaf| leaf.not_before.to_string())),
            state,
            ready: state.is_ready(),
            ..Self::skipped(view, &detail)
        }
    }

    /// Adds the problems of the Ingress to the detail.
    pub(super) fn with_problems(mut self, problems: &[String]) -> Self {
        for problem in problems {
            let sep = if self.detail.is_empty() { "" } else { "; " };
            self.detail = format!("{}{sep}not served as requested: {problem}", self.detail);
        }
        self.detail = cut(self.detail, limits::ROW_DETAIL);
        self
    }

    /// Header of the table.
    pub(super) fn header(all_namespaces: bool, wide: bool) -> Vec<String> {
        let place = all_namespaces.then_some("NAMESPACE");
        let more = if wide { &["STATE", "SINCE", "CA", "HOSTS", "DETAIL"][..] } else { &[] };
        let all = place.into_iter().chain(["NAME", "READY", "SECRET", "EXPIRES", "AGE"]);
        all.chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// Cells of the table, under [`Self::header`].
    pub(super) fn cells(&self, all_namespaces: bool, wide: bool, now: Timestamp) -> Vec<String> {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| NONE.to_owned());
        let ready = self.ready.map(|ready| if ready { "True" } else { "False" }.to_owned());
        let mut cells: Vec<String> =
            all_namespaces.then(|| self.namespace.clone()).into_iter().collect();
        cells.extend([
            self.ingress.clone(),
            or_none(ready),
            or_none(self.secret.clone()),
            or_none(self.not_after.as_deref().map(day)),
            age(self.born, now),
        ]);
        if wide {
            let hosts = match &self.names[..] {
                [] => NONE.to_owned(),
                [first, _, ..] => format!("{first} and {} more", self.names.len() - 1),
                [only] => only.clone(),
            };
            let since = or_none(self.since.as_deref().map(minute));
            let ca = or_none(self.ca.as_deref().map(brief));
            cells.extend([self.state.to_string(), since, ca, hosts, brief(&self.detail)]);
        }
        cells
    }

    /// Formats the row as lines for `explain`.
    pub(super) fn explanation(&self) -> String {
        let mut lines = Vec::new();
        if let Some(secret) = &self.secret {
            let or_none =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            lines.push(format!("\nSecret {}/{secret}", self.namespace));
            lines.push(format!("  names     {}", self.names.join(", ")));
            lines.push(format!("  issuer    {}", or_none(&self.issuer)));
            lines.push(format!("  CA        {}", or_none(&self.ca)));
            lines.push(format!("  expires   {}", or_none(&self.not_after)));
            lines.push(format!("  renewal   {}", or_none(&self.renewal)));
        }
        let since = self.since.as_ref().map_or_else(String::new, |at| format!(" since {at}"));
        lines.push(format!("  state     {}{since}", self.state));
        if !self.detail.is_empty() {
            lines.push(format!("  because   {}", self.detail));
        }
        lines.join("\n")
    }
}

fn state_of(
    desired: &DesiredCertificate,
    read: &Result<Option<SecretView>, String>,
    last: Option<&UserEvent>,
    now: Timestamp,
) -> (State, String) {
    let secret = match read {
        Ok(secret) => secret.as_ref(),
        Err(why) => return (State::Failing, format!("the Secret cannot be read: {why}")),
    };
    let directory = secret.and_then(SecretView::meant_for).unwrap_or_default();
    let (ari, installed, reissues) = (AriStatus::None, None, true);
    let assessment = Assessment { directory, ari, installed, reissues, now };
    let others = secret.filter(|secret| !secret.ours);
    if let Some(secret) = others.filter(|secret| !desired.adopt && serves(secret, desired, now)) {
        let whose = whose(secret);
        return (State::Valid, format!("{whose}; it will not be renewed by ingress-acme"));
    }
    match check(secret, desired, &assessment) {
        Ok(()) if let Some(secret) = others => {
            let whose = whose(secret);
            (
                State::Valid,
                format!("{whose}; adopt-secret has ingress-acme renew it once it is due"),
            )
        }
        Ok(()) => (State::Valid, String::new()),
        Err(
            reason @ (IssueReason::DueForRenewal(_)
            | IssueReason::Suggested { .. }
            | IssueReason::Requested
            | IssueReason::OtherDirectory(_)),
        ) => (State::Renewing, reason.to_string()),
        Err(reason) if secret.is_some_and(|secret| is_partial(secret, desired, now)) => {
            (State::Partial, last.map_or_else(|| reason.to_string(), UserEvent::to_string))
        }
        Err(reason) => match last.filter(|event| event.is_warning()) {
            Some(event) => (State::Failing, event.to_string()),
            None => (State::Pending, reason.to_string()),
        },
    }
}

/// Says whose Secret it is that ingress-acme did not make.
fn whose(secret: &SecretView) -> String {
    match &secret.other_issuer {
        Some(mark) => format!("the Secret is that of another issuer (annotation {mark})"),
        None => "the Secret is not ours".to_owned(),
    }
}

/// Whether the certificate is valid except for missing names, and its Ingresses accept a partial
/// certificate.
fn is_partial(secret: &SecretView, desired: &DesiredCertificate, now: Timestamp) -> bool {
    let certificate = secret.certificate.as_ref().ok().filter(|_| secret.ours && desired.partial);
    let has = |name: &DnsName| certificate.is_some_and(|one| one.is_for(name));
    let names = desired.names.iter().filter(|name| has(name)).cloned().collect();
    let planned = DesiredCertificate { names, ..desired.clone() };
    (1..desired.names.len()).contains(&planned.names.len()) && serves(secret, &planned, now)
}

/// Cuts a detail at [`DETAIL`] characters.
pub(in crate::commands) fn brief(detail: &str) -> String {
    match detail.char_indices().nth(DETAIL) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail.to_owned(),
    }
}

/// Returns the day: `2027-02-22` for `2027-02-22T10:56:51Z`.
fn day(at: &str) -> String {
    at.split('T').next().unwrap_or(at).to_owned()
}

/// Returns day and minute: `2027-02-22 10:56` for `2027-02-22T10:56:51Z`.
fn minute(at: &str) -> String {
    at.chars().take(16).collect::<String>().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use ingress_acme_actors::domain::certificate::{CertificateView, KeyAlgorithm};
    use ingress_acme_actors::domain::ingress::{Edition, SecretKey};
    use serde_json::json;

    use super::*;
    use crate::kubernetes::ingresses::view;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn desired(partial: bool) -> DesiredCertificate {
        let names = ["a.example.com", "b.example.com"];
        DesiredCertificate {
            in_dns: BTreeSet::new(),
            covered: BTreeSet::new(),
            dns_accounts: 0,
            secret: SecretKey::new("web", "shop"),
            names: names.iter().filter_map(|name| DnsName::parse(name).ok()).collect(),
            owners: BTreeSet::new(),
            routes: Arc::default(),
            algorithm: KeyAlgorithm::default(),
            asks_algorithm: false,
            profile: None,
            ca: None,
            refuses_ca: false,
            adopt: false,
            adopts_at_once: false,
            grouped: false,
            keeps_surplus: false,
            partial,
            renew: None,
            fill: BTreeMap::new(),
            fill_more: false,
            renew_only: false,
            moving: BTreeSet::new(),
            refused: BTreeSet::new(),
            undecided: BTreeSet::new(),
            copied: ingress_acme_actors::domain::copied::Copied::default(),
            edition: Edition::default(),
        }
    }

    fn secret(hosts: &[&str], from: i64) -> SecretView {
        let certificate = CertificateView {
            names: hosts.iter().map(|host| (*host).to_owned()).collect(),
            not_before: Timestamp::from_secs(from),
            not_after: Timestamp::from_secs(from + 100_000),
            id: None,
            serial: "01".to_owned(),
            issuer: "E1".to_owned(),
            key_matches: true,
        };
        SecretView {
            ours: true,
            other_install: None,
            other_issuer: None,
            untrusted: false,
            is_tls: true,
            immutable: false,
            certificate: Ok(certificate),
            owners: BTreeSet::new(),
            renew: None,
            directory: None,
            instead_of: None,
            ca: None,
            account: None,
            copied: None,
        }
    }

    fn state(hosts: &[&str], from: i64, partial: bool) -> State {
        state_of(&desired(partial), &Ok(Some(secret(hosts, from))), None, NOW).0
    }

    #[test]
    fn a_long_detail_is_cut_in_the_table_and_whole_in_the_explanation() {
        let ingress = json!({"metadata": {"namespace": "web", "name": "shop"}});
        let shop = view(&serde_json::from_value(ingress).unwrap());
        let (long, fits) = ("é".repeat(DETAIL + 1), "é".repeat(DETAIL));
        let last = |why: &str| Row::skipped(&shop, why).cells(false, true, NOW).pop().unwrap();
        assert_eq!((last(&fits), last(&long)), (fits.clone(), format!("{fits}…")));
        assert!(Row::skipped(&shop, &long).explanation().contains(&long));
    }

    #[test]
    fn a_secret_of_another_issuer_is_explained_by_its_annotation() {
        let hosts = ["a.example.com", "b.example.com"];
        let other_issuer = Some("cert-manager.io/certificate-name".to_owned());
        let theirs = SecretView { ours: false, other_issuer, ..secret(&hosts, 0) };
        let (state, why) = state_of(&desired(false), &Ok(Some(theirs)), None, NOW);
        assert_eq!(state, State::Valid);
        assert!(
            why.contains("another issuer (annotation cert-manager.io/certificate-name)"),
            "{why}"
        );
    }

    #[test]
    fn a_certificate_that_does_without_some_names_is_partial_where_that_was_asked_for() {
        let (one, both) = (["a.example.com"], ["a.example.com", "b.example.com"]);
        assert_eq!(state(&one, 0, true), State::Partial);
        assert_eq!(state(&one, 0, false), State::Pending);
        assert_eq!(state(&both, 0, true), State::Valid);
        assert_eq!(state(&both, 50_000, true), State::Pending, "it is not valid yet");
        assert_eq!(state(&["c.example.com"], 0, true), State::Pending);
    }
}
