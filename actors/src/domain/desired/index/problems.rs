//! Problems of an Ingress: those of its plan, and those that follow from other Ingresses.

use std::collections::BTreeSet;

use super::Index;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::host_claims::Verdict;
use crate::domain::desired::plan::{Plan, PlannedCertificate};
use crate::domain::desired::problem::Problem;
use crate::domain::ingress::IngressKey;
use crate::domain::limits;
use crate::domain::name::DnsName;

impl Index {
    /// Problems of an Ingress that keep parts of it from being served as requested; `None` if the
    /// Ingress is unknown.
    pub fn problems(&self, key: &IngressKey) -> Option<BTreeSet<Problem>> {
        let entry = self.entries.get(key)?;
        let mut problems = entry.plan.problems.clone();
        problems.extend(self.sharing_problems(key, &entry.plan));
        problems.extend(self.host_problems(key, &entry.plan));
        Some(problems)
    }

    /// Problems of Secrets with more users than owners, if `key` is their first owner.
    fn sharing_problems(&self, key: &IngressKey, plan: &Plan) -> Vec<Problem> {
        let is_first_of_many = |planned: &&PlannedCertificate| {
            let users = self.users.get(&planned.secret).map_or(0, Vec::len);
            let first = |desired: DesiredCertificate| {
                desired.owners.first().is_some_and(|owner| owner.key == *key)
            };
            users > limits::SHARERS && self.desired(&planned.secret).is_some_and(first)
        };
        let many = plan.certificates.iter().filter(is_first_of_many);
        many.map(|planned| Problem::ManySharers { secret: planned.secret.name.clone() }).collect()
    }

    /// Problems of hosts that several namespaces name.
    fn host_problems(&self, key: &IngressKey, plan: &Plan) -> Vec<Problem> {
        if self.host_claims.are_uncontested() {
            return Vec::new();
        }
        let problem = |host: DnsName| match self.host_claims.verdict(&host, &key.namespace) {
            Verdict::Has => None,
            Verdict::Shares => Some(Problem::HostShared { host }),
            Verdict::Taken => Some(Problem::HostTaken { host }),
        };
        plan.hosts().into_iter().filter_map(problem).take(limits::PROBLEMS).collect()
    }
}
