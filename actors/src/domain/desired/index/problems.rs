//! Problems of an Ingress: those of its plan, and those that follow from other Ingresses.

use std::collections::BTreeSet;

use super::Index;
use super::indexed_ingress::IndexedIngress;
use crate::domain::cas::Refusal;
use crate::domain::cut::cut;
use crate::domain::desired::desired_certificate::{DesiredCertificate, WantedRoute};
use crate::domain::desired::host_claims::Verdict;
use crate::domain::desired::plan::{Plan, PlannedCertificate};
use crate::domain::desired::problem::Problem;
use crate::domain::ingress::{IngressClass, IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;

impl Index {
    /// Problems of an Ingress that keep parts of it from being served as requested; `None` if the
    /// Ingress is unknown.
    pub fn problems(&self, key: &IngressKey) -> Option<BTreeSet<Problem>> {
        let entry = self.entries.get(key)?;
        let mut problems = entry.plan.problems.clone();
        problems.extend(self.sharing_problems(key, &entry.plan));
        problems.extend(self.class_problems(entry));
        problems.extend(self.host_problems(key));
        problems.extend(self.ca_problems(entry));
        Some(problems)
    }

    /// Problems of Secrets that several Ingresses share, and whose certificate may not have the CA
    /// that this Ingress asks for: the names of all of them count.
    fn ca_problems(&self, entry: &IndexedIngress) -> Vec<Problem> {
        let Some(asked) = entry.view.annotation("ca") else { return Vec::new() };
        let problem = |planned: &PlannedCertificate| {
            let why = self.refusal(&planned.secret, Some(asked))?;
            Some(Problem::RefusedCa { ca: cut(asked, limits::SHOWN_MAX), why })
        };
        let certificates = entry.plan.certificates.iter();
        certificates.filter_map(problem).take(limits::PROBLEMS).collect()
    }

    /// Why the certificate of a Secret that several Ingresses share may not have the CA that it is
    /// to have by an annotation: this one, or any.
    fn refusal(&self, secret: &SecretKey, asked: Option<&str>) -> Option<Refusal> {
        if !self.is_shared(secret) {
            return None;
        }
        self.with_merged(secret, |desired| {
            let is_asked = |desired: &&DesiredCertificate| {
                asked.is_none_or(|asked| desired.ca.as_deref() == Some(asked))
            };
            let desired = desired.filter(is_asked).filter(|desired| desired.refuses_ca)?;
            self.cas.choice_for(desired, None).refusal
        })
    }

    /// The Ingresses, other than `key`, that share a Secret of it and ask for a CA that the
    /// certificate may not have.
    pub(crate) fn refused_beside(&self, key: &IngressKey) -> Vec<IngressKey> {
        let secrets = self.secrets(key);
        let refused = secrets.iter().filter(|secret| self.refusal(secret, None).is_some());
        let asks = |user: &&IngressKey| {
            *user != key && self.view(user).is_some_and(|view| view.annotation("ca").is_some())
        };
        refused.flat_map(|secret| self.users(secret)).filter(asks).cloned().collect()
    }

    /// Problems of hosts that no route leads through the class of the Ingress, because other
    /// Ingresses that share the Secret have used up the classes of the host.
    fn class_problems(&self, entry: &IndexedIngress) -> Vec<Problem> {
        let has_many_users = |planned: &&PlannedCertificate| {
            let users = self.users.get(&planned.secret).map_or(0, Vec::len);
            users > limits::CLASSES_PER_HOST
        };
        let problem = |planned: &PlannedCertificate| {
            let unrouted = self.unrouted(planned, &entry.view.class);
            let (secret, others) = (planned.secret.name.clone(), unrouted.len().saturating_sub(1));
            let host = unrouted.into_iter().next()?;
            Some(Problem::ManyClasses { secret, host, others })
        };
        let shared = entry.plan.certificates.iter().filter(has_many_users);
        shared.filter_map(problem).take(limits::PROBLEMS).collect()
    }

    /// Names of a certificate to which no route leads through this class.
    fn unrouted(&self, planned: &PlannedCertificate, class: &IngressClass) -> Vec<DnsName> {
        self.with_merged(&planned.secret, |desired| {
            let Some(desired) = desired else { return Vec::new() };
            let is_unrouted = |host: &&DnsName| {
                let place =
                    |wanted: &WantedRoute| (&wanted.route.class, &wanted.host).cmp(&(class, *host));
                desired.names.contains(*host) && desired.routes.binary_search_by(place).is_err()
            };
            planned.names.iter().filter(is_unrouted).cloned().collect()
        })
    }

    /// Problems of Secrets with more users than owners, if `key` is their first user.
    fn sharing_problems(&self, key: &IngressKey, plan: &Plan) -> Vec<Problem> {
        let is_first_of_many = |planned: &&PlannedCertificate| {
            let users = self.users.get(&planned.secret).map_or(&[][..], Vec::as_slice);
            users.len() > limits::SHARERS && users.first() == Some(key)
        };
        let many = plan.certificates.iter().filter(is_first_of_many).take(limits::PROBLEMS);
        many.map(|planned| Problem::ManySharers { secret: planned.secret.name.clone() }).collect()
    }

    /// Problems of hosts that several namespaces name.
    fn host_problems(&self, key: &IngressKey) -> Vec<Problem> {
        let problem = |host: DnsName| match self.host_claims.verdict(&host, &key.namespace) {
            Verdict::Has | Verdict::Undecided => None,
            Verdict::Shares => Some(Problem::HostShared { host }),
            Verdict::Taken => Some(Problem::HostTaken { host }),
        };
        self.hosts_in_contests(key).filter_map(problem).take(limits::PROBLEMS).collect()
    }
}
