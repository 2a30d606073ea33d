//! Kubernetes Events on the Ingress (events.k8s.io/v1), in plain words for users.

use std::collections::BTreeSet;

use crate::domain::certificate::SecretView;
use crate::domain::cut::cut;
use crate::domain::desired::desired_certificate::{DesiredCertificate, display_names};
use crate::domain::desired::problem::Problem;
use crate::domain::desired::selection::TakesBack;
use crate::domain::failure::FailureClass;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::{
    CertificateInstalled, Event, Failing, IssuanceFailed, Outlook, OverIpv6, State,
    of_another_install,
};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::new_orders::{LEASE, NEW_ORDERS_ANNOTATION, because};
use crate::domain::rate_limits::LimitWait;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::IssueReason;

/// `type` of a Kubernetes Event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Severity {
    /// Normal operation.
    Normal,
    /// The user may have to act.
    Warning,
}

/// One Kubernetes Event.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KubeEvent {
    /// `type`.
    pub severity: Severity,
    /// `reason`: one word, for machines.
    pub reason: &'static str,
    /// `action`: the attempted action.
    pub action: &'static str,
    /// `note`: text for people, at most [`limits::EVENT_NOTE_MAX`] bytes.
    pub note: String,
    /// Whether the state lasts that the Event tells of: such an Event is sent again once in a
    /// while, because the API server deletes Events after an hour.
    pub lasts: bool,
}

impl KubeEvent {
    fn normal(reason: &'static str, note: String) -> Self {
        Self {
            severity: Severity::Normal,
            reason,
            action: "IssueCertificate",
            note: cut(note, limits::EVENT_NOTE_MAX),
            lasts: false,
        }
    }

    fn warning(reason: &'static str, note: String) -> Self {
        Self {
            severity: Severity::Warning,
            reason,
            action: "IssueCertificate",
            note: cut(note, limits::EVENT_NOTE_MAX),
            lasts: false,
        }
    }

    /// Creates the Event of a state that lasts.
    fn lasting(reason: &'static str, note: String) -> Self {
        Self { lasts: true, ..Self::warning(reason, note) }
    }

    /// Creates the Event for the start of an issuance. `elsewhere` is the fallback CA, if used.
    pub fn issuing(
        secret: &SecretKey,
        names: &BTreeSet<DnsName>,
        why: &IssueReason,
        elsewhere: Option<&str>,
    ) -> Self {
        let (names, secret) = (display_names(names), &secret.name);
        let note = format!("Getting a certificate for {names} into Secret {secret}: {why}");
        let Some(fallback) = elsewhere else { return Self::normal("Issuing", note) };
        let note = format!(
            "{note}. The CA in use has failed for a long time, so the fallback CA {fallback} is used"
        );
        Self::normal("Issuing", note)
    }

    /// Creates the Kubernetes Event for a journal event; `None` if users need none. `before` is the
    /// state before the journal event.
    pub fn of_event(event: &Event, before: &State, desired: &DesiredCertificate) -> Option<Self> {
        match event {
            Event::CertificateInstalled(installed) => {
                let CertificateInstalled { serial, not_after, .. } = installed;
                let left_out = installed.all_left_out();
                let names = before.issuance().map_or_else(String::new, |i| display_names(&i.names));
                let secret = &desired.secret.name;
                let directory = before.issuance().and_then(|issuance| issuance.directory.as_ref());
                let from = directory.map(|directory| format!(", from {directory}"));
                let note = format!(
                    "Certificate for {names} is in Secret {secret}, valid until {not_after} (serial {serial}){}{}",
                    from.unwrap_or_default(),
                    renewed_only(desired)
                );
                match before.failing().filter(|_| !left_out.is_empty()) {
                    None => Some(Self::normal("Issued", note)),
                    Some(failing) => Some(Self::partly(&note, &left_out, failing)),
                }
            }
            Event::IssuanceFailed(issuance_failed) => {
                let IssuanceFailed { class, detail, retry_at, .. } = issuance_failed;
                let names = &issuance_failed.all_names();
                let before = before.failing().map(|failing| (failing.class, &*failing.detail));
                let repeated = class.is_before_the_ca() && before == Some((*class, &**detail));
                let failed = || Self::failed(desired, (*class, &**detail), *retry_at, names);
                (!repeated).then(failed)
            }
            _ => None,
        }
    }

    /// Creates the Event for a certificate whose last attempt failed some time ago.
    pub(crate) fn failing(desired: &DesiredCertificate, failing: &Failing) -> Self {
        let Failing { class, detail, retry_at, names, .. } = failing;
        Self::failed(desired, (*class, &**detail), *retry_at, names)
    }

    /// Creates the Event for a failed attempt because of `names`, or of all if there are none.
    fn failed(
        desired: &DesiredCertificate,
        (class, detail): (FailureClass, &str),
        retry_at: Timestamp,
        names: &BTreeSet<DnsName>,
    ) -> Self {
        // The other names may have a certificate.
        let subset = desired.partial && !names.is_empty();
        let whose = if subset { display_names(names) } else { desired.display_names() };
        let what = format!("No certificate for {whose} yet");
        let next =
            format!("Next attempt at {retry_at}, or within a minute after an edit of the Ingress");
        let note = format!("{what} ({}): {detail}. {next}", class.label());
        Self::lasting(reason_of(class), note)
    }

    /// Creates the Event for a certificate without some of the desired names.
    fn partly(note: &str, left_out: &BTreeSet<DnsName>, failing: &Failing) -> Self {
        let Failing { class, detail, retry_at, .. } = failing;
        let (left_out, class) = (display_names(left_out), class.label());
        let next = format!(
            "All names are tried again at {retry_at}, or within a minute after an edit of the Ingress"
        );
        let note = format!("{note}. It leaves out {left_out} ({class}): {detail}. {next}");
        Self::lasting("PartlyIssued", note)
    }

    /// Creates the Event for the problems of an Ingress; `None` if there are none.
    pub fn skipped(problems: &BTreeSet<Problem>) -> Option<Self> {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let lines = (!lines.is_empty()).then(|| lines.join("; "))?;
        if problems.iter().all(|problem| matches!(problem, Problem::StaysFilled { .. })) {
            return Some(Self { lasts: true, ..Self::normal("LeftAlone", lines) });
        }
        if problems.iter().all(Problem::is_served) {
            let note = format!("Served, with a restriction: {lines}");
            return Some(Self::lasting("Restricted", note));
        }
        let mut not_served = problems.iter().filter(|problem| !problem.is_served());
        let until = if not_served.all(Problem::ends_by_itself) {
            "for now" // each problem says what ends it
        } else {
            "until the Ingress is edited"
        };
        let note = format!("Not served as requested {until}: {lines}");
        Some(Self::lasting("Skipped", note))
    }

    /// Creates the Event for a Secret that serves the Ingress and that another install renews.
    pub fn of_another_install(secret: &SecretKey, other: &str, install_id: &str) -> Self {
        let whose = of_another_install(secret, other, install_id);
        let note = format!(
            "Served, with a restriction: Secret {} {whose}; it is left as it is, and not renewed by this install",
            secret.name
        );
        Self::warning("Restricted", note)
    }

    /// Creates the Event for a Secret of somebody else with a certificate that browsers do not
    /// trust.
    pub fn untrusted(secret: &SecretKey, issuer: &str) -> Self {
        let name = &secret.name;
        let note = format!(
            "Served, with a restriction: HTTPS is served by a certificate of {issuer} in Secret {name}, which ingress-acme has \
             not made and whose chain leads to no root that browsers trust; it is left as it is. To replace it, annotate the \
             Ingress with ingress-acme.dev/adopt-secret: \"now\", or name another Secret in spec.tls"
        );
        Self::warning("Restricted", note)
    }

    /// Creates the Event for a host that leads elsewhere over IPv6 than over IPv4; `None` if the
    /// host does not.
    pub fn differs_over_ipv6(host: &DnsName, found: &OverIpv6) -> Option<Self> {
        found.warning(host).map(|note| Self::warning("Restricted", note))
    }

    /// Creates the Event for an installed certificate whose follow-up work on `what` failed.
    pub fn left_undone(what: &str, detail: &str) -> Self {
        let note = format!("The certificate is good, but {what} could not be updated: {detail}");
        Self::warning("Incomplete", note)
    }

    /// Creates the Event for a `spec.tls` that was taken back.
    pub fn taken_back(why: TakesBack) -> Self {
        let note = format!(
            "spec.tls, which ingress-acme had filled in, is taken back: {why}. The certificate stays in its Secret and \
             is renewed"
        );
        Self::normal("TakenBack", note)
    }

    /// Creates the Event for a `spec.tls` that could not be taken back.
    pub fn not_taken_back(why: TakesBack, detail: &str) -> Self {
        let note = format!(
            "spec.tls, which ingress-acme has filled in, should be taken back ({why}), and could not be: {detail}. It is \
             tried again after an edit; removing spec.tls and the annotation ingress-acme.dev/filled-tls does the same"
        );
        Self::warning("Incomplete", note)
    }

    /// Creates the Event for an order delayed by a rate limit.
    pub fn waiting_for_limit(desired: &DesiredCertificate, waiting: &LimitWait) -> Self {
        let LimitWait { ca, scope, detail, turn } = waiting;
        let at = ca.as_ref().map(|ca| format!(" at CA {ca}")).unwrap_or_default();
        let note = format!(
            "A rate limit on {scope}{at} stops orders for now, so the order for {} is queued and is expected to be sent at about {turn}: {detail}",
            desired.display_names()
        );
        Self::lasting("Waiting", note)
    }

    /// Creates the Event for a file of `--cas-file` that is not used, about the operator's pod.
    pub fn cas_file_refused(why: &str) -> Self {
        let note = format!("{why}. The CAs stay as they are until the file can be used");
        Self::warning("BadCasFile", note)
    }

    /// Creates the Event for a Secret that cannot be used as a DNS account, about that Secret.
    pub fn dns_account_refused(reason: String) -> Self {
        Self::warning("BadDnsAccount", reason)
    }

    /// Creates the Event for an order that waits because new orders are stopped, in the operator's
    /// namespace `own`.
    pub fn new_orders_stopped(desired: &DesiredCertificate, reason: &str, own: &str) -> Self {
        let note = format!(
            "New orders are stopped by an administrator of ingress-acme{}, so the order for {} waits. It is sent at once when \
             they are allowed again (ingress-acme resume --operator-namespace {own}, or kubectl annotate -n {own} lease \
             {LEASE} {NEW_ORDERS_ANNOTATION}-); nothing needs to be done here",
            because(reason),
            desired.display_names()
        );
        Self::lasting("Waiting", note)
    }

    /// Creates the Event of a dry run: the plan for the Secret of `ingress`, as `found`.
    pub(crate) fn planned(
        desired: &DesiredCertificate,
        outlook: &Outlook,
        found: Option<&SecretView>,
        ingress: &IngressKey,
    ) -> Self {
        let (names, secret) = (desired.display_names(), &desired.secret.name);
        if let Some(why) = outlook.refusal(found) {
            let note = format!("There would be no certificate of ours for {names}: {why}");
            return Self::warning("Planned", note);
        }
        let filled = desired.fill.keys().any(|one| one.key == *ingress);
        let fills = if filled { ", and spec.tls would be filled in" } else { "" };
        let note = match outlook {
            Outlook::Ordered { reason, replaces } => {
                let kind = if *replaces { "renewal" } else { "new order" };
                format!(
                    "A certificate for {names} would be ordered into Secret {secret} ({kind}): {reason}{fills}"
                )
            }
            _ => format!("Secret {secret} has a good certificate for {names}: no order{fills}"),
        };
        Self::normal("Planned", note)
    }

    /// Creates the Event for a certificate whose journal had a record that does not fit.
    pub fn set_aside(desired: &DesiredCertificate, why: &str) -> Self {
        let note = format!(
            "The operator's journal had a record about Secret {} that does not fit the ones before: {why}. An order that was in flight for {} may begin anew. The certificate is checked now and renewed as before; nothing needs to be done",
            desired.secret.name,
            desired.display_names()
        );
        Self::warning("SetAside", note)
    }

    /// Creates the Event for an open order that waits for its CA, or for the write of its Secret.
    pub fn held_up(desired: &DesiredCertificate, detail: &str) -> Self {
        let note = format!(
            "The order for {} is kept and will be resumed: {detail}. Nothing is lost and nothing is ordered twice",
            desired.display_names()
        );
        Self::lasting("Waiting", note)
    }
}

/// Why a certificate is renewed though no new one would be ordered for its Ingresses.
fn renewed_only(desired: &DesiredCertificate) -> &'static str {
    if desired.renew_only {
        ". It is renewed because it was there before; a new one would not be ordered for this Ingress (ingress-acme \
         explain says why)"
    } else {
        ""
    }
}

fn reason_of(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Unreachable | FailureClass::Dns => "Unreachable",
        FailureClass::Conflict => "Conflict",
        _ => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certificate::PrivateKey;
    use crate::domain::desired::desired_certificate::tests::desired;
    use crate::domain::desired::plan::tests::names;
    use crate::domain::failure::Failure;
    use crate::domain::issuance::{Command, NewIssuance, apply, decide};

    fn fail(state: &State, class: FailureClass) -> (State, Option<KubeEvent>) {
        let desired = desired("shop", &["a.example.com"]);
        let command =
            Command::Fail(desired.attempted(), Failure::new(class, "the words of the CA"));
        let event = decide(state, command, Timestamp::default()).unwrap();
        let kube_event = KubeEvent::of_event(&event, state, &desired);
        (apply(state.clone(), &event, Timestamp::default()).unwrap(), kube_event)
    }

    #[test]
    fn a_failure_is_reported_in_the_words_of_the_ca_with_the_time_of_the_next_attempt() {
        let (_, kube_event) = fail(&State::Idle, FailureClass::Authorization);
        let note = kube_event.unwrap().note;
        assert!(
            note.contains("the words of the CA") && note.contains("1970-01-01T00:01"),
            "{note}"
        );
    }

    #[test]
    fn the_same_unreachable_host_is_reported_once() {
        let (state, first) = fail(&State::Idle, FailureClass::Unreachable);
        assert!(first.is_some());
        assert_eq!(fail(&state, FailureClass::Unreachable).1, None);
        assert!(fail(&state, FailureClass::Conflict).1.is_some());
    }

    #[test]
    fn a_long_note_is_cut_at_a_character_and_says_so() {
        let note = KubeEvent::left_undone("spec.tls", &format!("\u{1b}{}", "é".repeat(2000))).note;
        assert!(note.len() <= limits::EVENT_NOTE_MAX && note.ends_with(" bytes)"), "{note}");
        assert!(!note.contains('\u{1b}'));
    }

    #[test]
    fn each_class_of_failures_has_its_reason() {
        let reason = |class: FailureClass| fail(&State::Idle, class).1.unwrap().reason;
        for class in FailureClass::ALL {
            let expected = match class {
                FailureClass::Unreachable | FailureClass::Dns => "Unreachable",
                FailureClass::Conflict => "Conflict",
                _ => "Failed",
            };
            assert_eq!(reason(class), expected, "{class:?}");
        }
    }

    fn two() -> DesiredCertificate {
        let two = desired("shop", &["a.example.com", "b.example.com"]);
        DesiredCertificate { partial: true, ..two }
    }

    fn refuse_b() -> Command {
        let failure = Failure::new(FailureClass::Authorization, "HTTP 404");
        Command::Fail(two().attempted(), failure.about(names(&["b.example.com"])))
    }

    #[test]
    fn where_others_may_have_a_certificate_the_failing_names_alone_are_reported() {
        let note = |desired: &DesiredCertificate, command: Command| {
            let event = decide(&State::Idle, command, Timestamp::default()).unwrap();
            KubeEvent::of_event(&event, &State::Idle, desired).unwrap().note
        };
        let all = "No certificate for a.example.com, b.example.com yet";
        assert!(note(&two(), refuse_b()).starts_with("No certificate for b.example.com yet"));
        let whole = DesiredCertificate { partial: false, ..two() };
        assert!(note(&whole, refuse_b()).starts_with(all));
        let failure = Failure::new(FailureClass::AcmeServer, "HTTP 500");
        assert!(note(&two(), Command::Fail(two().attempted(), failure)).starts_with(all));
    }

    #[test]
    fn an_installed_certificate_is_reported_with_the_names_that_it_leaves_out() {
        let installed = |hosts: &[&str]| {
            let key = PrivateKey::from_pem("key".to_owned());
            let issuance = NewIssuance { names: names(hosts), ..NewIssuance::of(two(), key) };
            let opened = Command::Opened("https://ca.example/order/1".to_owned());
            let begun = [refuse_b(), Command::Begin(Box::new(issuance)), opened];
            let state = begun.into_iter().fold(State::Idle, |state, command| {
                let event = decide(&state, command, Timestamp::default()).unwrap();
                apply(state, &event, Timestamp::default()).unwrap()
            });
            let (serial, not_after) = ("0a".to_owned(), Timestamp::from_secs(9));
            let command = Command::Installed { serial, not_after };
            let event = decide(&state, command, Timestamp::default()).unwrap();
            KubeEvent::of_event(&event, &state, &two()).unwrap()
        };
        let all = installed(&["a.example.com", "b.example.com"]);
        assert_eq!((all.reason, all.severity), ("Issued", Severity::Normal));
        let text = "Certificate for a.example.com, b.example.com is in Secret shop, valid until \
                    1970-01-01T00:00:09Z (serial 0a)";
        assert_eq!(all.note, text);
        let some = installed(&["a.example.com"]);
        assert_eq!((some.reason, some.severity), ("PartlyIssued", Severity::Warning));
        let left_out = "It leaves out b.example.com (authorization): HTTP 404";
        assert!(some.note.contains(left_out), "{}", some.note);
    }

    #[test]
    fn problems_are_reported_as_what_they_restrict_and_how_long() {
        let host = names(&["a.example.com"]).pop_first().unwrap();
        let shared = || Problem::HostShared { host: host.clone() };
        let taken = || Problem::HostTaken { host: host.clone() };
        let event = |problems: &[Problem]| KubeEvent::skipped(&problems.iter().cloned().collect());
        assert_eq!(event(&[]), None);
        let served = event(&[shared()]).unwrap();
        assert_eq!(served.reason, "Restricted");
        assert!(served.note.starts_with("Served, with a restriction: host a.example.com also"));
        let for_now = event(&[shared(), taken()]).unwrap();
        assert_eq!(for_now.reason, "Skipped");
        assert!(for_now.note.starts_with("Not served as requested for now: "));
        let for_good = event(&[taken(), Problem::NoHosts]).unwrap();
        assert!(for_good.note.starts_with("Not served as requested until the Ingress is edited: "));
    }

    #[test]
    fn a_host_that_leads_elsewhere_over_ipv6_is_a_restriction() {
        let host = names(&["a.example.com"]).pop_first().unwrap();
        let event = |found: OverIpv6| KubeEvent::differs_over_ipv6(&host, &found);
        assert_eq!(event(OverIpv6::Reached), None);
        let told = event(OverIpv6::Elsewhere("HTTP 404".to_owned())).unwrap();
        assert_eq!((told.reason, told.severity), ("Restricted", Severity::Warning));
        assert!(told.note.contains("HTTP 404"), "{}", told.note);
    }
}
