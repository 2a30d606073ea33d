//! Plan: the certificates that one Ingress asks for.
//!
//! Each `spec.tls` block is one certificate; a block without hosts covers all rule hosts. An
//! Ingress without `spec.tls` gets one certificate for all rule hosts, in a Secret whose name is
//! chosen when the cluster has been looked at; `spec.tls` is filled in once that Secret exists. A
//! host that no certificate can contain is left out with a [`Problem`]; the others are served.

mod planner;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::aliases::Alias;
use crate::domain::certificate::{KeyAlgorithm, UnknownAlgorithm};
use crate::domain::desired::grouping::{registered_domain, secret_name};
use crate::domain::desired::hosts::same_names;
use crate::domain::desired::problem::{NotGrouped, Problem};
use crate::domain::desired::secret_names::chosen_name;
use crate::domain::ingress::{FILLED_TLS, IngressKey, IngressView, SecretKey, TlsBlock};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::solver_place::place_asked_for;
use planner::Planner;

/// A certificate planned for one Ingress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedCertificate {
    /// Secret for the certificate.
    pub secret: SecretKey,
    /// Names, sorted and without duplicates; never empty, and at most one more than a certificate
    /// may have. Shared by all certificates for all rule hosts.
    pub names: Arc<[DnsName]>,
    /// Whether to fill in `spec.tls` once the Secret exists, because the block is missing or lags
    /// behind.
    pub fill: bool,
    /// Whether no new certificate is issued, because the Ingress has too many `spec.tls` blocks. A
    /// present one of ours is renewed.
    pub renew_only: bool,
    /// Names left out because the CA is public and never certifies them.
    pub refused: Arc<[DnsName]>,
}

impl PlannedCertificate {
    /// Whether a wildcard of the certificate covers the name.
    pub(super) fn covers(&self, name: &DnsName) -> bool {
        name.covering_wildcard().is_some_and(|one| self.names.binary_search(&one).is_ok())
    }
}

/// Certificates of one Ingress, and the problems that keep parts of the Ingress from being served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// One entry per Secret; blocks with the same Secret are merged.
    pub certificates: Vec<PlannedCertificate>,
    /// Secrets of blocks whose names are all left out, with these names, sorted. The certificate
    /// that another Ingress has in such a Secret keeps them while it is valid.
    pub refused_blocks: Box<[(SecretKey, Arc<[DnsName]>)]>,
    /// Problems, ordered by kind and content, without duplicates.
    pub problems: BTreeSet<Problem>,
    /// Registered domain of the group, if the Ingress is in one. Then there is one certificate, in
    /// a Secret of the group.
    pub group: Option<Box<str>>,
    /// Whether `spec.tls` is left as it is.
    pub leaves_tls: bool,
    /// Whether the name of the one Secret is ours to choose, and not chosen yet. The plan has the
    /// first name then.
    pub open: bool,
    /// Whether we have chosen the name of the one Secret.
    pub chosen: bool,
}

/// Computes the plan of an Ingress that [`select`](crate::domain::desired::selection::select)
/// accepted. Time and memory are linear in the size of the Ingress.
pub fn plan(ingress: &IngressView) -> Plan {
    let mut planner = Planner::new(ingress);
    if ingress.class.name().is_some_and(|name| name.len() > limits::ANNOTATION) {
        planner.problem(Problem::LongClass);
        return planner.plan;
    }
    if let Err(unknown) = algorithm(ingress) {
        planner.problem(Problem::BadAlgorithm(unknown));
    }
    if let Err(unknown) = place_asked_for(ingress) {
        planner.problem(Problem::BadPlace(unknown));
    }
    for short in &ingress.long_annotations {
        planner.problem(Problem::LongAnnotation(short));
    }
    let count = ingress.tls.len() + ingress.tls_left_out;
    if count > limits::TLS_BLOCKS {
        planner.problem(Problem::TooManyBlocks { count });
    }
    if ingress.tls.is_empty() {
        let names = planner.rule_names();
        planner.add_open(&names);
    }
    let filled = filled_by_us(ingress);
    for (index, block) in ingress.tls.iter().enumerate().take(limits::TLS_BLOCKS_READ) {
        planner.add_block(index, block, filled);
    }
    let mut plan = planner.plan;
    plan.chosen = filled && !plan.open;
    if plan.certificates.is_empty() && plan.problems.is_empty() {
        plan.problems.insert(Problem::NoHosts);
    }
    plan.certificates.shrink_to_fit();
    plan.tell_aliases(ingress);
    if ingress.copied.left_out() > 0 {
        plan.problems.insert(Problem::NotCopied { count: ingress.copied.left_out() });
    }
    if ingress.annotation("group") == Some("true") {
        plan.join_a_group(ingress, filled);
    }
    plan
}

/// Returns the key algorithm that `ingress` asks for; `None` without the annotation.
///
/// # Errors
/// [`UnknownAlgorithm`] if the annotation has another value.
pub fn algorithm(ingress: &IngressView) -> Result<Option<KeyAlgorithm>, UnknownAlgorithm> {
    ingress.annotation("key-algorithm").map(str::parse).transpose()
}

/// When a Secret that an Ingress hands over to us is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adoption {
    /// Once its certificate does not serve: `ingress-acme.dev/adopt-secret: "true"`, as in 0.1.0.
    OnceUseless,
    /// At once, where browsers do not trust it: the value `"now"`. A value of its own, because the
    /// consents that are there would replace certificates of a company's own CA by an upgrade.
    AtOnce,
}

/// Returns when `ingress` has its Secret replaced, if it hands the Secret over.
pub fn adoption(ingress: &IngressView) -> Option<Adoption> {
    match ingress.annotation("adopt-secret")? {
        "true" => Some(Adoption::OnceUseless),
        "now" => Some(Adoption::AtOnce),
        _ => None,
    }
}

/// Returns the value of [`FILLED_TLS`] for `hosts`.
pub fn filled_tls_value<'a>(hosts: impl IntoIterator<Item = &'a str>) -> String {
    let hosts: BTreeSet<&str> = hosts.into_iter().collect();
    hosts.into_iter().collect::<Vec<_>>().join(",")
}

/// Whether `spec.tls` is as we filled it in.
pub(super) fn filled_by_us(ingress: &IngressView) -> bool {
    match (&ingress.tls[..], ingress.annotation(FILLED_TLS)) {
        ([block], Some(filled)) => {
            filled_tls_value(block.hosts.iter().map(String::as_str)) == filled
        }
        _ => false,
    }
}

impl Plan {
    /// Plan of an Ingress whose namespace has too many hosts.
    pub(super) fn left_out(most: usize) -> Self {
        Self {
            problems: [Problem::NamespaceFull { mebibytes: most >> 20 }].into(),
            ..Self::default()
        }
    }

    /// Leaves `spec.tls` as it is, also where a block has no Secret.
    pub(super) fn leave_tls(&mut self) {
        self.leaves_tls = true;
        self.certificates.iter_mut().for_each(|planned| planned.fill = false);
        self.problems.retain(|problem| !matches!(problem, Problem::NoSecretName { .. }));
    }

    /// Puts the one certificate into this Secret, whose name we have chosen.
    pub(super) fn settle(&mut self, secret: SecretKey) {
        if let Some(planned) = self.certificates.first_mut() {
            planned.secret = secret;
            (self.open, self.chosen) = (false, true);
        }
    }

    /// Lets the name of the one Secret be chosen anew.
    pub(super) fn reopen(&mut self, ingress: &IngressKey) {
        if let Some(planned) = self.certificates.first_mut() {
            planned.secret = secret_beside(ingress, &chosen_name(&ingress.name, 1));
            planned.fill = !self.leaves_tls && !planned.renew_only;
            (self.open, self.chosen) = (true, false);
        }
    }

    /// Orders no new certificate and fills in nothing: only what is there is renewed. A group is
    /// left to its other members.
    pub(super) fn only_renew(&mut self) {
        if self.group.take().is_some() {
            self.certificates.clear();
        }
        for planned in &mut self.certificates {
            (planned.renew_only, planned.fill) = (true, false);
        }
        self.problems.clear();
    }

    /// Plan of an Ingress that is left alone.
    pub(super) fn left_alone(problem: Option<Problem>) -> Self {
        Self { problems: problem.into_iter().collect(), ..Self::default() }
    }

    /// Names of all certificates, sorted and without duplicates. Nearly every Ingress has one list
    /// of names, which is shared; blocks that share a list count once.
    pub(super) fn hosts(&self) -> Arc<[DnsName]> {
        let mut lists = self.certificates.iter().map(|planned| &planned.names);
        let Some(first) = lists.next() else { return Arc::default() };
        let mut known = HashSet::from([first.as_ptr()]);
        let mut others = lists.filter(|names| known.insert(names.as_ptr())).peekable();
        if others.peek().is_none() {
            return first.clone();
        }
        let names = first.iter().chain(others.flat_map(|names| names.iter()));
        names.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// Adds a problem where annotations of the controller serve names that are in no certificate.
    fn tell_aliases(&mut self, ingress: &IngressView) {
        let is_listed = |name: &DnsName| {
            self.certificates.iter().any(|planned| planned.names.binary_search(name).is_ok())
        };
        let mut missing = ingress.aliases.iter().filter(|alias| !is_listed(&alias.name));
        let Some(Alias { annotation, name }) = missing.next() else { return };
        let (name, others) = (name.clone(), missing.count());
        if !self.certificates.is_empty() {
            self.problems.insert(Problem::Alias { annotation, name, others });
        }
    }

    /// Joins a group. The Ingress must leave `spec.tls` to ingress-acme, because the group chooses
    /// the Secret.
    fn join_a_group(&mut self, ingress: &IngressView, filled: bool) {
        let [planned] = &self.certificates[..] else { return };
        if !ingress.tls.is_empty() && !filled {
            self.problems.insert(Problem::NotGrouped(NotGrouped::OwnTls));
        } else if let Some(domain) = registered_domain(&planned.names) {
            self.group = Some(domain.into());
            (self.open, self.chosen) = (false, false);
            self.go_to(ingress, "");
        } else {
            self.problems.insert(Problem::NotGrouped(NotGrouped::ManyDomains));
        }
    }

    /// Moves the planned certificate to the bucket at `path`, and plans a matching `spec.tls`.
    pub(super) fn go_to(&mut self, ingress: &IngressView, path: &str) {
        let (Some(domain), Some(planned)) = (&self.group, self.certificates.first_mut()) else {
            return;
        };
        planned.secret = secret_beside(&ingress.key, &secret_name(domain, path));
        let named = |block: &TlsBlock| block.secret_name.as_deref() == Some(&*planned.secret.name);
        let hosts = &ingress.rule_hosts;
        planned.fill = !self.leaves_tls
            && !ingress.tls.iter().any(|block| named(block) && same_names(&block.hosts, hosts));
    }
}

/// Key of the Secret `name` in the namespace of `ingress`. Shares the strings of the Ingress,
/// because nearly every Ingress has a Secret of its own name.
fn secret_beside(ingress: &IngressKey, name: &str) -> SecretKey {
    let name = if *ingress.name == *name { ingress.name.clone() } else { name.into() };
    SecretKey { namespace: ingress.namespace.clone(), name }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::ingress::{Edition, IngressClass};
    use crate::domain::time::Timestamp;

    pub(crate) fn ingress(namespace: &str, name: &str, hosts: &[&str]) -> IngressView {
        IngressView {
            key: IngressKey::new(namespace, name),
            uid: format!("uid-{namespace}-{name}").into(),
            created: Timestamp::default(),
            class: IngressClass::Default,
            tls: Vec::new(),
            tls_left_out: 0,
            rule_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            has_hostless_rule: false,
            annotations: std::collections::BTreeMap::new(),
            long_annotations: Vec::new(),
            copied: crate::domain::copied::Copied::default(),
            aliases: Vec::new(),
            mark: None,
            is_master: false,
            is_solver: false,
            deleting: false,
            edition: Edition::default(),
            generation: 0,
            routed: None,
        }
    }

    /// An Ingress whose `spec.tls` names the Secret `name` for all of its hosts.
    pub(crate) fn named(namespace: &str, name: &str, hosts: &[&str]) -> IngressView {
        IngressView { tls: vec![block(name, hosts)], ..ingress(namespace, name, hosts) }
    }

    pub(crate) fn block(secret: &str, hosts: &[&str]) -> TlsBlock {
        TlsBlock {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            secret_name: Some(secret.to_owned()).filter(|name| !name.is_empty()),
        }
    }

    pub(crate) fn names(hosts: &[&str]) -> BTreeSet<DnsName> {
        hosts.iter().map(|host| DnsName::parse_certified(host).unwrap()).collect()
    }

    fn planned(secret: &str, hosts: &[&str], fill: bool) -> PlannedCertificate {
        PlannedCertificate {
            secret: SecretKey::new("web", secret),
            names: names(hosts).into_iter().collect(),
            fill,
            renew_only: false,
            refused: Arc::default(),
        }
    }

    #[test]
    fn without_spec_tls_all_rule_hosts_go_into_a_secret_whose_name_is_to_be_chosen() {
        let view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        let plan = plan(&view);
        assert_eq!(
            plan.certificates,
            [planned("shop-tls", &["a.example.com", "b.example.com"], true)]
        );
        assert!(plan.open && !plan.chosen);
    }

    #[test]
    fn each_tls_block_is_one_certificate_and_an_empty_one_means_all_rule_hosts() {
        let mut view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        view.tls = vec![block("one", &["a.example.com"]), block("all", &[])];
        let all = planned("all", &["a.example.com", "b.example.com"], false);
        assert_eq!(plan(&view).certificates, [planned("one", &["a.example.com"], false), all]);
    }

    #[test]
    fn a_class_is_refused_for_its_length_and_never_for_its_letters() {
        let with = |class: &str| {
            let class = IngressClass::Annotated(class.into());
            plan(&IngressView { class, ..ingress("web", "shop", &["a.example.com"]) })
        };
        for class in ["azure/application-gateway", "a\u{1b}b", "\"{}\n", &"x".repeat(253)] {
            assert_eq!((with(class).certificates.len(), with(class).problems.len()), (1, 0));
        }
        let too_long = with(&"x".repeat(254));
        assert_eq!(too_long, Plan { problems: [Problem::LongClass].into(), ..Plan::default() });
    }

    #[test]
    fn two_blocks_with_one_secret_are_one_certificate() {
        let mut view = ingress("web", "shop", &[]);
        view.tls = vec![block("one", &["a.example.com"]), block("one", &["b.example.com"])];
        assert_eq!(
            plan(&view).certificates,
            [planned("one", &["a.example.com", "b.example.com"], false)]
        );
    }

    #[test]
    fn a_bad_host_is_a_problem_and_the_others_are_served() {
        let view = ingress("web", "shop", &["*.com", "a.example.com", "localhost"]);
        let plan = plan(&view);
        assert_eq!(plan.certificates, [planned("shop-tls", &["a.example.com"], true)]);
        assert_eq!(plan.problems.len(), 2);
    }

    #[test]
    fn no_hosts_and_no_secret_name_are_problems() {
        assert_eq!(plan(&ingress("web", "shop", &[])).problems, [Problem::NoHosts].into());
        let mut view = ingress("web", "shop", &["a.example.com"]);
        view.tls = vec![block("", &[])];
        assert_eq!(plan(&view).problems, [Problem::NoSecretName { block: 0 }].into());
        assert_eq!(plan(&view).certificates, []);
    }

    #[test]
    fn what_we_filled_in_stays_ours_until_the_user_edits_it() {
        let mut view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        view.tls = vec![block("shop", &["a.example.com"])];
        view.annotations.insert(FILLED_TLS.into(), "a.example.com".into());
        assert_eq!(
            plan(&view).certificates,
            [planned("shop", &["a.example.com", "b.example.com"], true)]
        );

        view.tls = vec![block("shop", &["b.example.com"])];
        assert_eq!(plan(&view).certificates, [planned("shop", &["b.example.com"], false)]);

        view.tls = vec![block("shop", &["b.example.com", "a.example.com"])];
        view.annotations.insert(FILLED_TLS.into(), "a.example.com,b.example.com".into());
        assert_eq!(
            plan(&view).certificates,
            [planned("shop", &["a.example.com", "b.example.com"], false)]
        );
    }

    fn many(blocks: usize, of_each: &[&str], rule_hosts: usize) -> IngressView {
        let hosts: Vec<String> = (0..rule_hosts).map(|n| format!("h{n}.example.com")).collect();
        let tls = (0..blocks).map(|number| block(&format!("s{number}"), of_each)).collect();
        IngressView { tls, rule_hosts: hosts, ..ingress("web", "shop", &[]) }
    }

    /// Number of lists of names in memory, and of names in them.
    fn allocated(plan: &Plan) -> (usize, usize) {
        let lists: std::collections::BTreeMap<_, _> =
            plan.certificates.iter().map(|one| (one.names.as_ptr(), one.names.len())).collect();
        (lists.len(), lists.values().sum())
    }

    #[test]
    fn blocks_without_hosts_share_one_bounded_list_of_names() {
        let plan_300 = plan(&many(300, &[], 300));
        assert_eq!(plan_300.certificates.len(), 300);
        assert_eq!(allocated(&plan_300), (1, 101));
        let plan_3000 = plan(&many(3_000, &[], 3_000));
        assert_eq!(allocated(&plan_3000), (1, 101));
        assert_eq!(plan_3000.problems, [Problem::TooManyBlocks { count: 3_000 }].into());
    }

    #[test]
    fn blocks_beyond_the_bound_are_renewed_only_and_those_far_beyond_are_not_read() {
        let plan = plan(&many(6_000, &["a.example.com"], 0));
        let new = plan.certificates.iter().filter(|planned| !planned.renew_only).count();
        assert_eq!((new, plan.certificates.len()), (limits::TLS_BLOCKS, limits::TLS_BLOCKS_READ));
        let told = Problem::TooManyBlocks { count: 6_000 }.to_string();
        assert!(told.contains("6000") && told.contains("1000") && told.contains("5000"), "{told}");
    }

    #[test]
    fn problems_are_listed_up_to_a_bound_and_then_counted() {
        let mut view = many(0, &[], 1);
        view.rule_hosts.extend((0..50).map(|number| format!("bad_{number}.example.com")));
        view.tls = (0..50).map(|_| block("", &[])).collect();
        view.tls.push(block("Not A Secret", &[]));
        view.tls.push(block("good", &[]));
        let plan = plan(&view);
        assert_eq!(plan.certificates, [planned("good", &["h0.example.com"], false)]);
        assert_eq!(plan.problems.len(), limits::PROBLEMS + 1);
        let more: Vec<usize> = plan
            .problems
            .iter()
            .filter_map(|problem| match problem {
                Problem::More { count } => Some(*count),
                _ => None,
            })
            .collect();
        assert_eq!(more, [50 + 50 + 1 - limits::PROBLEMS]);
    }

    #[test]
    fn blocks_are_counted_with_those_that_were_not_read() {
        let told = |blocks: usize, left_out: usize| {
            let view =
                IngressView { tls_left_out: left_out, ..many(blocks, &["a.example.com"], 0) };
            plan(&view).problems.into_iter().next()
        };
        let too_many = |count| Some(Problem::TooManyBlocks { count });
        assert_eq!(told(limits::TLS_BLOCKS, 0), None);
        assert_eq!(told(limits::TLS_BLOCKS, 1), too_many(limits::TLS_BLOCKS + 1));
        assert_eq!(told(limits::TLS_BLOCKS + 1, 0), too_many(limits::TLS_BLOCKS + 1));
    }

    fn grouped(tls: Vec<TlsBlock>, annotations: &[(&str, &str)], hosts: &[&str]) -> Plan {
        let mut view = IngressView { tls, ..ingress("web", "shop", hosts) };
        for (name, value) in annotations.iter().chain(&[("group", "true")]) {
            view.annotations.insert((*name).into(), (*value).into());
        }
        plan(&view)
    }

    #[test]
    fn an_ingress_that_leaves_spec_tls_to_us_joins_the_group_of_its_domain() {
        let group = "group-example.com";
        let host = ["a.example.com"];
        let plain = grouped(Vec::new(), &[], &host);
        assert_eq!(plain.certificates, [planned(group, &host, true)]);
        assert_eq!(plain.group.as_deref(), Some("example.com"));
        let filled = [(FILLED_TLS, "a.example.com")];
        let settled = grouped(vec![block(group, &host)], &filled, &host);
        assert_eq!(settled.certificates, [planned(group, &host, false)]);
        let elsewhere = grouped(vec![block("shop", &host)], &filled, &host);
        assert_eq!(elsewhere.certificates, [planned(group, &host, true)]);
        let both = ["a.example.com", "b.example.com"];
        let behind = grouped(vec![block(group, &host)], &filled, &both);
        assert_eq!(behind.certificates, [planned(group, &both, true)]);
    }

    #[test]
    fn an_ingress_with_a_spec_tls_or_domains_of_its_own_is_in_no_group() {
        let own = grouped(vec![block("shop", &["a.example.com"])], &[], &["a.example.com"]);
        assert_eq!(own.problems, [Problem::NotGrouped(NotGrouped::OwnTls)].into());
        assert_eq!((own.group, own.certificates.len()), (None, 1));
        let many = grouped(Vec::new(), &[], &["a.example.com", "a.example.org"]);
        assert_eq!(many.problems, [Problem::NotGrouped(NotGrouped::ManyDomains)].into());
        assert_eq!(many.group, None);
    }

    #[test]
    fn a_name_that_an_annotation_serves_is_told_unless_it_is_in_a_certificate() {
        let name = DnsName::parse("www.example.com").unwrap();
        let alias = Alias { annotation: "x.io/redirect", name };
        let told = |view: IngressView| {
            plan(&IngressView { aliases: vec![alias.clone()], ..view }).problems
        };
        let missing = told(ingress("web", "shop", &["example.com"]));
        let [problem] = &missing.iter().collect::<Vec<_>>()[..] else { panic!("{missing:?}") };
        let text = problem.to_string();
        assert!(text.contains("www.example.com") && text.contains("x.io/redirect"), "{text}");
        assert!(problem.is_served());
        let both = ["example.com", "www.example.com"];
        assert_eq!(told(ingress("web", "shop", &both)), [].into());
        let mut listed = named("web", "shop", &both);
        listed.rule_hosts.pop();
        assert_eq!(told(listed), [].into(), "spec.tls lists it");
        assert_eq!(told(ingress("web", "shop", &[])), [Problem::NoHosts].into());
    }

    #[test]
    fn an_unknown_key_algorithm_is_told() {
        let with = |value: &str| {
            let mut view = ingress("web", "shop", &["a.example.com"]);
            view.annotations.insert("key-algorithm".into(), value.into());
            view
        };
        assert_eq!(algorithm(&with("rsa-2048")), Ok(Some(KeyAlgorithm::Rsa2048)));
        assert!(plan(&with("rsa-2048")).problems.is_empty());
        let told = plan(&with("rsa-1024")).problems;
        assert!(matches!(told.first(), Some(Problem::BadAlgorithm(_))), "{told:?}");
    }
}
