//! Reads the blocks of `spec.tls` into a plan, and counts the problems beyond their bound.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Plan, PlannedCertificate, secret_beside};
use crate::domain::desired::grouping::is_a_groups;
use crate::domain::desired::hosts::{Hosts, same_names, union};
use crate::domain::desired::problem::Problem;
use crate::domain::desired::secret_names::chosen_name;
use crate::domain::ingress::{IngressView, SecretKey, TlsBlock};
use crate::domain::limits;
use crate::domain::name::DnsName;

/// A plan in the making.
pub(super) struct Planner<'a> {
    ingress: &'a IngressView,
    pub(super) plan: Plan,
    /// Names of all rule hosts, once a block needs them.
    rule_names: Option<Arc<[DnsName]>>,
    /// Place of each Secret in the plan, if there are several.
    places: HashMap<SecretKey, usize>,
    /// Problems that are not listed.
    more: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn new(ingress: &'a IngressView) -> Self {
        Self { ingress, plan: Plan::default(), rule_names: None, places: HashMap::new(), more: 0 }
    }

    /// Adds a problem, or counts the problem if there are [`limits::PROBLEMS`] already.
    pub(super) fn problem(&mut self, problem: Problem) {
        let problems = &mut self.plan.problems;
        if problems.len() < limits::PROBLEMS {
            problems.insert(problem);
        } else if !problems.contains(&problem) {
            self.more_problems(1);
        }
    }

    fn more_problems(&mut self, count: usize) {
        if count > 0 {
            self.plan.problems.remove(&Problem::More { count: self.more });
            self.more += count;
            self.plan.problems.insert(Problem::More { count: self.more });
        }
    }

    /// Names of these hosts. Bad ones become problems.
    fn names(&mut self, hosts: &[String]) -> Arc<[DnsName]> {
        let Hosts { names, bad, more_bad } = Hosts::read(hosts);
        for problem in bad {
            self.problem(problem);
        }
        self.more_problems(more_bad);
        names
    }

    /// Names of all rule hosts, read once.
    pub(super) fn rule_names(&mut self) -> Arc<[DnsName]> {
        if self.rule_names.is_none() {
            self.rule_names = Some(self.names(&self.ingress.rule_hosts));
        }
        self.rule_names.clone().unwrap_or_default()
    }

    pub(super) fn add_block(&mut self, index: usize, block: &TlsBlock, filled: bool) {
        let rule_hosts = &self.ingress.rule_hosts;
        let secret = block.secret_name.as_deref().unwrap_or_default();
        if secret.is_empty() {
            return self.problem(Problem::NoSecretName { block: index });
        }
        if !is_subdomain(secret) {
            return self.problem(Problem::BadSecretName { block: index });
        }
        let of_rules = block.hosts.is_empty() || filled;
        let names = if of_rules { self.rule_names() } else { self.names(&block.hosts) };
        if filled && is_a_groups(secret) {
            // The Ingress has left a group, and needs a Secret of its own.
            return self.add_open(&names);
        }
        let fill = filled && !same_names(&block.hosts, rule_hosts);
        self.add(secret, &names, fill, index);
    }

    /// Adds the one certificate of an Ingress whose Secret is ours to choose.
    pub(super) fn add_open(&mut self, names: &Arc<[DnsName]>) {
        let name = chosen_name(&self.ingress.key.name, 1);
        self.add(&name, names, true, 0);
        self.plan.open = !self.plan.certificates.is_empty();
    }

    /// Adds the certificate of the `index`-th block, or extends the one in the same Secret.
    fn add(&mut self, secret: &str, names: &Arc<[DnsName]>, fill: bool, index: usize) {
        if names.is_empty() {
            return;
        }
        let secret = secret_beside(&self.ingress.key, secret);
        let certificates = &mut self.plan.certificates;
        if self.ingress.tls.len() > 1 {
            let place = *self.places.entry(secret.clone()).or_insert(certificates.len());
            if let Some(planned) = certificates.get_mut(place) {
                planned.names = union(&planned.names, names);
                return;
            }
        }
        let (names, renew_only) = (names.clone(), index >= limits::TLS_BLOCKS);
        let refused = Arc::default();
        certificates.push(PlannedCertificate { secret, names, fill, renew_only, refused });
    }
}

/// Whether `name` is a DNS subdomain (RFC 1123), as the names of Secrets are.
fn is_subdomain(name: &str) -> bool {
    let legal =
        |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    (1..=253).contains(&name.len()) && name.bytes().all(legal)
}
