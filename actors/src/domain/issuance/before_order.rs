//! Rules before an order: routes to the solver, probes of the hosts, and rate limits.

use std::collections::BTreeSet;

use super::evaluation::Evaluation;
use super::failing::Failing;
use super::fallback;
use super::in_dns;
use super::new_order;
use super::observed::Reach;
use super::state::{Issuance, State};
use super::step::Step;
use crate::domain::certificate::SecretView;
use crate::domain::cut::cut;
use crate::domain::desired::problem::likewise;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::public_name::check_public;
use crate::domain::rate_limits::LimitScope;
use crate::domain::scheduling::priority::{Priority, Urgency};
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{IssueReason, Remaining};

pub(super) fn edited(evaluation: &Evaluation<'_>, issuance: &Issuance) -> Option<Step> {
    evaluation.is_edited(issuance).then_some(Step::Abandon("the Ingress was edited"))
}

/// The journal records an opened order before anything else happens.
pub(super) fn opened_but_not_journaled(evaluation: &Evaluation<'_>, _: &Issuance) -> Option<Step> {
    evaluation.inputs.observed.opened.as_ref().map(|_| Step::OpenOrder)
}

/// Failure of names that no CA can read. A name that the certificate in the Secret has is left to
/// the CA which issued it: no release takes a name away from a certificate.
fn bad_a_labels(evaluation: &Evaluation<'_>, names: &BTreeSet<DnsName>) -> Option<Failure> {
    let ours = evaluation.own_certificate();
    let is_new = |name: &DnsName| !ours.is_some_and(|certificate| certificate.is_for(name));
    let mut bad = names.iter().filter(|name| is_new(name)).filter_map(|name| {
        let why = name.check_a_labels().err()?;
        Some((name, why))
    });
    let (first, why) = bad.next()?;
    let others: Vec<&DnsName> = bad.map(|(name, _)| name).collect();
    let detail = format!(
        "host {first} {why}, so no CA is asked{}; correct the host, or remove it",
        likewise(others.len())
    );
    let blamed = others.into_iter().chain([first]).cloned();
    Some(Failure::new(FailureClass::InvalidSpec, detail).about(blamed))
}

/// Failure of names that the CA never certifies and shall not be told. The plan leaves them out
/// where its Ingress has a public CA; this one may follow from a refused annotation, whose
/// certificate has lost its CA, or from the annotation of another Ingress. A name that this CA has
/// certified before is left to it.
fn internal_names(evaluation: &Evaluation<'_>, names: &BTreeSet<DnsName>) -> Option<Failure> {
    let directory = evaluation.inputs.assessment.directory;
    if !evaluation.inputs.is_public {
        return None;
    }
    let by_it = evaluation.secret().and_then(|secret| secret.issued_by(directory));
    let is_new = |name: &&DnsName| !by_it.is_some_and(|certificate| certificate.is_for(name));
    let mut internal = names.iter().filter(is_new).filter_map(|name| {
        let why = check_public(name).err()?;
        Some((name, why))
    });
    let (first, why) = internal.next()?;
    let others: Vec<&DnsName> = internal.map(|(name, _)| name).collect();
    let detail = format!(
        "host {first} {why}, and the certificate would be one of {}, which certifies public names only{}; choose \
         another CA by the annotation ingress-acme.dev/ca, or remove the host",
        cut(directory, limits::QUOTED_MAX),
        likewise(others.len())
    );
    let blamed = others.into_iter().chain([first]).cloned();
    Some(Failure::new(FailureClass::InvalidSpec, detail).about(blamed))
}

/// Waits while another Secret has an order for exactly the same names at the same CA, which may
/// answer a second order with the open one. The pause grows with the age of that order.
fn same_names_in_flight(
    evaluation: &Evaluation<'_>,
    order: (&BTreeSet<DnsName>, Option<&str>),
    started_at: Option<Timestamp>,
) -> Option<Step> {
    let (inputs, now) = (&evaluation.inputs, evaluation.now());
    let began =
        inputs.in_flight.ahead_of(inputs.stream, order, inputs.first_ca, started_at, now)?;
    let (shortest, longest) = limits::SAME_NAMES_LOOK;
    Some(Step::WaitForOrder(now + (now.since(began) / 4).clamp(shortest, longest)))
}

/// The same for an issuance that has started: another one may have started in the same moment.
pub(super) fn same_names_ordered(evaluation: &Evaluation<'_>, issuance: &Issuance) -> Option<Step> {
    let order = (&issuance.names, issuance.directory.as_deref());
    same_names_in_flight(evaluation, order, Some(issuance.started_at))
}

pub(super) fn secret_is_valid(evaluation: &Evaluation<'_>, _: &Issuance) -> Option<Step> {
    evaluation.check().ok().map(|()| Step::Abandon("the Secret holds a valid certificate"))
}

pub(super) fn ca_busy_for_long(evaluation: &Evaluation<'_>, issuance: &Issuance) -> Option<Step> {
    let long = !issuance.is_fallback && evaluation.is_busy_for_long();
    long.then_some(Step::Abandon(
        "its CA has been busy for a long time, and the fallback CA is used",
    ))
}

pub(super) fn wait_for_routes_and_limits(
    evaluation: &Evaluation<'_>,
    issuance: &Issuance,
) -> Option<Step> {
    let of_all = evaluation.check().err()?;
    let requested = (!issuance.left_out.is_empty()).then(|| evaluation.requested(issuance));
    let of_subset = requested.and_then(|subset| evaluation.check_for(&subset).err());
    let reason = of_subset.unwrap_or(of_all);
    let is_first = !issuance.is_fallback;
    let limited =
        || is_first.then(|| wait_for_limit(evaluation, &issuance.names, &reason)).flatten();
    let names = &issuance.names;
    let first = routes_and_probes(evaluation, names, issuance.before.as_deref());
    first.or_else(|| in_dns::look_or_fail(evaluation, names)).or_else(limited)
}

/// Returns the next step towards a certificate for `names`, at the first CA, or at the fallback CA
/// once [`fallback_directory`] returns one.
pub(super) fn prepare_order(
    evaluation: &Evaluation<'_>,
    names: BTreeSet<DnsName>,
    failing: Option<&Failing>,
    reason: IssueReason,
) -> Step {
    if let Some(failure) = bad_a_labels(evaluation, &names) {
        return Step::Fail(failure);
    }
    if let Some(wait) = new_order::stopped(evaluation, &names) {
        return wait;
    }
    let fallback = fallback_directory(evaluation, failing);
    let is_first = fallback.is_none();
    if let Some(failure) = internal_names(evaluation, &names).filter(|_| is_first) {
        return Step::Fail(failure);
    }
    let directory = fallback.or(evaluation.inputs.mark).map(str::to_owned);
    if let Some(wait) = same_names_in_flight(evaluation, (&names, directory.as_deref()), None) {
        return wait;
    }
    let limited = || is_first.then(|| wait_for_limit(evaluation, &names, &reason)).flatten();
    let in_dns = || in_dns::look_or_fail(evaluation, &names);
    let caa = || is_first.then(|| look_at_caa(evaluation, &names, failing)).flatten();
    let rehearsed = || is_first.then(|| rehearse(evaluation, &names, failing)).flatten();
    let first = routes_and_probes(evaluation, &names, failing).or_else(in_dns).or_else(caa);
    let first = first.or_else(limited).or_else(rehearsed);
    first.unwrap_or(Step::Begin { reason, names, directory })
}

/// Returns the directory of a fallback CA, once the first CA has failed or been busy for long
/// enough. Each desired certificate switches by itself, and back at its next renewal. Only failures
/// that are the CA's own count: a host that cannot be validated fails at any CA, and jobs wait for
/// rate limits.
fn fallback_directory<'a>(
    evaluation: &Evaluation<'a>,
    failing: Option<&Failing>,
) -> Option<&'a str> {
    let (fallbacks, busy_since) = (evaluation.inputs.fallbacks, evaluation.busy_since());
    fallback::due(fallbacks, failing.map(Failing::last), busy_since, evaluation.now())
}

/// Waits for a rate limit that blocks an order for `names`. A nearly expired certificate may bypass
/// the limit, and a replacement within its ARI window counts in no limit of Let's Encrypt's. The
/// certificate in the Secret counts only if the Secret is ours and the certificate is good except
/// for its age, because users can write Secrets.
///
/// A certificate of another CA that is configured is in service too, and its renewal has the same
/// place in the queue. It replaces nothing at this CA, so that no exemption is assumed. Whoever
/// copies the identifier of a certificate in its window from a log of the public (RFC 6962) into a
/// Secret has no exemption either: the chain is verified first.
fn wait_for_limit(
    evaluation: &Evaluation<'_>,
    names: &BTreeSet<DnsName>,
    reason: &IssueReason,
) -> Option<Step> {
    let (inputs, now) = (&evaluation.inputs, evaluation.now());
    let is_here =
        evaluation.secret().and_then(SecretView::meant_for) == Some(inputs.assessment.directory);
    let certificate = evaluation.own_certificate().filter(|_| is_here || inputs.of_known_ca);
    let by_age = reason.is_of_time() || matches!(reason, IssueReason::Expired(_));
    let remaining = certificate.map(|one| Remaining::of(one, now)).filter(|_| by_age);
    let expires_soon = !matches!(remaining, None | Some(Remaining::Plenty));
    let mut scope = inputs.rate_limits.blocking(inputs.stream, names, true, now)?;
    let leaves_share = |scope: &LimitScope| scope.is_share() && expires_soon && is_here;
    let is_in_window = remaining.is_some() && is_in_window(evaluation, reason);
    let may_be_exempt = |scope: &LimitScope| is_in_window && *scope != LimitScope::Address;
    let is_verified = inputs.observed.verified;
    if is_verified.is_none() && (leaves_share(&scope) || may_be_exempt(&scope)) {
        return Some(Step::VerifyCertificate);
    }
    let is_verified = is_verified == Some(true);
    if is_verified && leaves_share(&scope) {
        // Outside of the shares.
        scope = inputs.rate_limits.blocking(inputs.stream, names, false, now)?;
    }
    let wait = |urgency, by| Some(Step::WaitForLimit(scope.clone(), Priority { urgency, by }));
    let first = Priority::FIRST.by;
    if matches!(reason, IssueReason::OtherDirectory(_)) {
        // That of the former CA, which serves meanwhile: the one that ends first goes first.
        let ends = evaluation.own_certificate().map_or(first, |one| one.not_after);
        return wait(Urgency::Renewal, ends);
    }
    if *reason == IssueReason::Requested {
        return wait(Urgency::Renewal, first);
    }
    let by = certificate.map_or(first, |certificate| certificate.not_after);
    match (remaining, reason) {
        _ if is_verified && may_be_exempt(&scope) => None,
        (Some(Remaining::Critical), _) if is_here && evaluation.may_bypass() => None,
        (Some(Remaining::Critical | Remaining::Low | Remaining::Expired), _) => {
            wait(Urgency::Expiring, by)
        }
        (Some(Remaining::Plenty), _) => wait(Urgency::Renewal, by),
        (None, _) => wait(Urgency::First, first),
    }
}

/// Whether the CA that is asked suggests the renewal of a certificate that it has issued itself,
/// and no fallback in its place.
fn is_in_window(evaluation: &Evaluation<'_>, reason: &IssueReason) -> bool {
    let assessment = &evaluation.inputs.assessment;
    let issued = |secret: &SecretView| secret.issued_by(assessment.directory).is_some();
    matches!(reason, IssueReason::Suggested { .. })
        && evaluation.secret().is_some_and(issued)
        && assessment.ari.is_within_window(evaluation.now())
}

/// Publishes the routes, then probes every host that is proved by HTTP-01, before any request to
/// the CA.
pub(super) fn routes_and_probes(
    evaluation: &Evaluation<'_>,
    names: &BTreeSet<DnsName>,
    failing: Option<&Failing>,
) -> Option<Step> {
    let observed = evaluation.inputs.observed;
    let (names, in_dns) = in_dns::divide(evaluation, names);
    if names.is_empty() {
        return None;
    }
    if !evaluation.are_routed() {
        return Some(Step::PublishRoutes);
    }
    let probe = || Some(Step::Probe(names.clone()));
    if !names.iter().all(|name| observed.reach.contains_key(name)) {
        return probe();
    }
    let failure = observed.unreachable(&in_dns)?;
    let are_over = observed.are_rounds_over();
    // After the last round, DNS proves a host where an account is granted.
    let may_be_in_dns =
        !are_over && failure.names.iter().any(|name| in_dns::is_granted(evaluation, name));
    if probing_is_advisory(evaluation, failing) && !may_be_in_dns {
        return None;
    }
    if are_over { Some(Step::Fail(failure)) } else { probe() }
}

/// Looks up the CAA records of the names, and fails where they forbid the CA to issue: the CA would
/// refuse the order too. Resolvers inside a cluster may answer otherwise than the Internet, so the
/// CA is asked once a day all the same, and a certificate that is there is renewed.
fn look_at_caa(
    evaluation: &Evaluation<'_>,
    names: &BTreeSet<DnsName>,
    failing: Option<&Failing>,
) -> Option<Step> {
    if evaluation.remaining().is_some() {
        return None;
    }
    let caa = evaluation.inputs.observed.caa.as_ref();
    let Some((_, found)) = caa.filter(|(looked_up, _)| names.is_subset(looked_up)) else {
        return Some(Step::LookUpCaa(names.clone()));
    };
    let waited = |failing: &Failing| {
        failing.class == FailureClass::Caa && failing.retry_at <= evaluation.now()
    };
    let failure = found.clone().filter(|_| !failing.is_some_and(waited));
    failure.map(Step::Fail)
}

/// Has the names that the CA could not validate last time validated at the rehearsal CA, whose
/// limits are wide: Let's Encrypt takes five failed validations of a name an hour. The rehearsal CA
/// may see less of the Internet than the first one, so that one is asked a day after the last
/// failure all the same, and at once where a certificate runs out.
fn rehearse(
    evaluation: &Evaluation<'_>,
    names: &BTreeSet<DnsName>,
    failing: Option<&Failing>,
) -> Option<Step> {
    let failing = failing.filter(|failing| failing.class == FailureClass::Authorization)?;
    let runs_out = evaluation.remaining().is_some_and(|remaining| remaining != Remaining::Plenty);
    let is_long_ago = failing.last + limits::REHEARSALS <= evaluation.now();
    if !evaluation.inputs.rehearses || runs_out || is_long_ago {
        return None;
    }
    let all_failed = failing.names.is_empty();
    let (by_http, _) = in_dns::divide(evaluation, names);
    let failed = by_http.iter().filter(|name| all_failed || failing.names.contains(*name));
    let failed: BTreeSet<DnsName> = failed.cloned().collect();
    let is_due = !failed.is_subset(&evaluation.inputs.observed.rehearsed);
    is_due.then_some(Step::Rehearse(failed))
}

/// Whether an order is opened although a host was not reached: all hosts resolve, and probes have
/// failed for [`limits::PROBE_ADVISORY_AFTER`]. Where the CA is asked through a proxy, names of the
/// Internet often do not resolve, and the CA alone knows whether they do. No first
/// certificate is asked for a host that its ingress controller will not lead to the solver; one of
/// ours is renewed as ever. After an edit, a round of probes gives the ingress controller time to
/// take the edit in, and the next attempt follows soon.
fn probing_is_advisory(evaluation: &Evaluation<'_>, failing: Option<&Failing>) -> bool {
    let through_proxy = evaluation.inputs.through_proxy;
    let may_resolve = |reach: &Reach| through_proxy || !matches!(reach, Reach::Unresolved(_));
    let long =
        |failing: &Failing| evaluation.now().since(failing.since) >= limits::PROBE_ADVISORY_AFTER;
    let is_new = matches!(evaluation.state, State::Failing(_))
        && failing.is_some_and(|failing| evaluation.is_edited_since(failing));
    let observed = evaluation.inputs.observed;
    let is_renewal = evaluation.remaining().is_some();
    let may_lead_here =
        (observed.rule.is_none() || is_renewal) && observed.reach.values().all(may_resolve);
    failing.is_some_and(long) && !is_new && may_lead_here
}
