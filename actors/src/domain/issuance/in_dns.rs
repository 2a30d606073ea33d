//! Rules for the names of a certificate that are proved in DNS.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluation::Evaluation;
use super::observed::{AuthorizationView, OrderView};
use super::step::Step;
use super::waits::fail;
use crate::domain::challenge::{Method, Methods};
use crate::domain::dns::method::{Persist, Proof, choose};
use crate::domain::dns::persist::record_to_set;
use crate::domain::dns::txt::{ChallengeTarget, TxtRecord};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::limits;
use crate::domain::name::DnsName;

/// The names that are proved by HTTP-01, and those that are proved in DNS: wildcards, those that
/// the user wants so, and hosts that requests do not reach, where an account is granted.
pub(super) fn divide(
    evaluation: &Evaluation<'_>,
    names: &BTreeSet<DnsName>,
) -> (BTreeSet<DnsName>, BTreeSet<DnsName>) {
    names.iter().cloned().partition(|name| !is_in_dns(evaluation, name))
}

fn is_in_dns(evaluation: &Evaluation<'_>, name: &DnsName) -> bool {
    let observed = evaluation.inputs.observed;
    if name.is_wildcard() || evaluation.desired.in_dns.contains(name) {
        return true;
    }
    let is_missed = observed.reach.get(name).is_some_and(|reach| !reach.is_reached());
    observed.are_rounds_over() && is_missed && is_granted(evaluation, name)
}

/// Whether a DNS account may prove the name.
pub(super) fn is_granted(evaluation: &Evaluation<'_>, name: &DnsName) -> bool {
    evaluation.inputs.dns_accounts.grants(&evaluation.inputs.stream.namespace, name)
}

/// Looks up what DNS says about the names, and fails where no method proves one of them.
pub(super) fn look_or_fail(evaluation: &Evaluation<'_>, names: &BTreeSet<DnsName>) -> Option<Step> {
    let (_, in_dns) = divide(evaluation, names);
    proofs(evaluation, &in_dns, &|_| true).err()
}

/// The proof of each name.
///
/// # Errors
/// The step that comes first: a look, or a failure.
fn proofs(
    evaluation: &Evaluation<'_>,
    names: &BTreeSet<DnsName>,
    persist_is_offered: &dyn Fn(&DnsName) -> bool,
) -> Result<BTreeMap<DnsName, Proof>, Step> {
    let (inputs, facts) = (&evaluation.inputs, &evaluation.inputs.observed.in_dns.facts);
    if !names.iter().all(|name| facts.contains_key(name)) {
        return Err(Step::LookUpDns(names.clone()));
    }
    let namespace = &inputs.stream.namespace;
    let (mut proofs, mut failed): (_, Vec<Failure>) = (BTreeMap::new(), Vec::new());
    for name in names {
        let mut facts = facts[name].clone();
        if facts.persist != Persist::Off && !persist_is_offered(name) {
            facts.persist = Persist::NotOffered;
        }
        let to_set = inputs.persist.map(|issuer| record_to_set(issuer, name));
        match choose(name, namespace, &facts, inputs.dns_accounts, to_set.as_deref()) {
            Ok(proof) => _ = proofs.insert(name.clone(), proof),
            Err(failure) => failed.push(failure),
        }
    }
    let mut failed = failed.into_iter();
    let Some(first) = failed.next() else { return Ok(proofs) };
    let names = first.names.iter().cloned().chain(failed.flat_map(|failure| failure.names));
    let names: Vec<DnsName> = names.collect();
    Err(Step::Fail(first.about(names)))
}

/// Names of a pending order that are proved in DNS, and whose challenges are not accepted yet.
pub(super) fn unanswered(evaluation: &Evaluation<'_>, order: &OrderView) -> BTreeSet<DnsName> {
    let waiting = order.authorizations.iter().filter(|authorization| !authorization.accepted);
    let names = waiting.map(|authorization| authorization.name.clone()).collect();
    divide(evaluation, &names).1
}

/// Answers the challenges in DNS of a pending order, then accepts all challenges.
pub(super) fn answer(evaluation: &Evaluation<'_>, order: &OrderView) -> Step {
    let waiting = order.authorizations.iter().filter(|authorization| !authorization.accepted);
    let waiting: BTreeMap<&DnsName, &AuthorizationView> =
        waiting.map(|authorization| (&authorization.name, authorization)).collect();
    let in_dns = unanswered(evaluation, order);
    if in_dns.is_empty() {
        return Step::Accept(Methods::new());
    }
    let is_read = evaluation.inputs.observed.in_dns.offers_read;
    let is_offered = |name: &DnsName| !is_read || waiting[name].offers.dns_persist_01.is_some();
    let proofs = match proofs(evaluation, &in_dns, &is_offered) {
        Ok(_) if !is_read => return Step::ReadOffers,
        Ok(proofs) => proofs,
        Err(Step::Fail(failure)) => return fail(evaluation, &failure),
        Err(first) => return first,
    };
    let (mut methods, mut records) = (Methods::new(), BTreeSet::new());
    for (name, proof) in &proofs {
        match answered(name, proof, waiting[name]) {
            Ok((method, txt)) => {
                methods.insert(name.clone(), method);
                records.extend(txt);
            }
            Err(failure) => return fail(evaluation, &failure),
        }
    }
    written_and_seen(evaluation, records).unwrap_or(Step::Accept(methods))
}

/// Method and record of a name, as far as the CA offers the method.
fn answered(
    name: &DnsName,
    proof: &Proof,
    authorization: &AuthorizationView,
) -> Result<(Method, Option<TxtRecord>), Failure> {
    match proof {
        Proof::Persist => Ok((Method::DnsPersist01, None)),
        Proof::Txt { account, provider, target: ChallengeTarget { name: record, zone } } => {
            let value = authorization.offers.dns_01.clone().ok_or_else(|| not_offered(name))?;
            let domain = name.without_wildcard();
            let (account, provider) = (account.clone(), Some(provider.clone()));
            let (zone, name) = (zone.clone(), record.clone());
            let txt = TxtRecord { account, provider, zone, name, value, domain };
            Ok((Method::Dns01, Some(txt)))
        }
    }
}

fn not_offered(name: &DnsName) -> Failure {
    let detail = format!("the CA offers no dns-01 challenge for {name}; use another CA");
    Failure::new(FailureClass::Rejected, detail).about([name.clone()])
}

/// Writes the records, and waits until the authoritative servers have them: for
/// [`limits::TXT_SEEN`] at most, because the CA may see what this process cannot.
fn written_and_seen(evaluation: &Evaluation<'_>, records: BTreeSet<TxtRecord>) -> Option<Step> {
    let in_dns = &evaluation.inputs.observed.in_dns;
    if !records.is_subset(&in_dns.added) {
        return Some(Step::AddTxt(records));
    }
    let added_at = in_dns.added_at.filter(|_| !records.is_empty() && !in_dns.seen)?;
    let waits = evaluation.now().since(added_at) < limits::TXT_SEEN;
    waits.then_some(Step::LookForTxt(records))
}
