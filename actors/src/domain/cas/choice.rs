//! Choice of the CA for one certificate.

use std::fmt;

use super::{Ca, Cas, Source};
use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::name::DnsName;

/// The CA that a certificate is ordered from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice<'a> {
    /// The CA.
    pub ca: &'a Ca,
    /// Why the annotation is not followed. Then nothing new is ordered, and a certificate that is
    /// there is renewed at `ca`.
    pub refusal: Option<Refusal>,
}

/// Why the annotation `ingress-acme.dev/ca` is not followed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// No CA has this name.
    Unknown,
    /// No CA can be chosen, because the operator runs without `--cas-file`.
    NoFile,
    /// The CA may not be chosen in this namespace, or not for these names.
    Forbidden,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "is the name of no CA in the file of --cas-file",
            Self::NoFile => "cannot be had, because the operator runs without --cas-file",
            Self::Forbidden => {
                "names a CA that may not be chosen in this namespace for all of these names"
            }
        })
    }
}

impl Cas {
    /// Chooses the CA for a certificate of `namespace` for `names`: the one that the annotation
    /// asks for, if that is allowed, else the default. If it is not allowed, the certificate that
    /// is there (meant to be one of the directory `present`) stays with its CA.
    pub fn choose<'n, N: Iterator<Item = &'n str> + Clone>(
        &self,
        namespace: &str,
        names: &N,
        asked: Option<&str>,
        present: Option<&str>,
    ) -> Choice<'_> {
        let default = self.default_for(namespace, names);
        let Some(asked) = asked else { return Choice { ca: default, refusal: None } };
        let refusal = match self.named(asked) {
            Some(ca) if is_allowed(ca, default, namespace, names) => {
                return Choice { ca, refusal: None };
            }
            _ if self.source == Source::Flags => Refusal::NoFile,
            Some(_) => Refusal::Forbidden,
            None => Refusal::Unknown,
        };
        let present = present.and_then(|present| self.at(present));
        Choice { ca: present.unwrap_or(default), refusal: Some(refusal) }
    }

    /// Chooses the CA for a desired certificate, with the one in its Secret, as far as it is known.
    pub fn choice_for(
        &self,
        desired: &DesiredCertificate,
        found: Option<&SecretView>,
    ) -> Choice<'_> {
        let names = desired.names.iter().map(DnsName::as_str);
        let present = found.filter(|found| found.ours).and_then(SecretView::meant_for);
        self.choose(&desired.secret.namespace, &names, desired.ca.as_deref(), present)
    }

    /// The CA of certificates that ask for none.
    fn default_for<'n>(
        &self,
        namespace: &str,
        names: &(impl Iterator<Item = &'n str> + Clone),
    ) -> &Ca {
        let mut rules = self.defaults.iter();
        let rule = rules.find(|rule| rule.scope.has(namespace, names.clone()));
        rule.and_then(|rule| self.at(&rule.directory)).unwrap_or(&self.first)
    }
}

/// Whether the CA may be chosen: its scopes say so, or it is the default anyway. The flags name no
/// scope.
fn is_allowed<'n>(
    ca: &Ca,
    default: &Ca,
    namespace: &str,
    names: &(impl Iterator<Item = &'n str> + Clone),
) -> bool {
    let mut scopes = ca.allow.iter();
    ca.directory == default.directory || scopes.any(|scope| scope.has(namespace, names.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::cas;
    use super::*;
    use crate::domain::cas::Reissue;

    const NAMES: [&str; 1] = ["shop.example.com"];
    const CORP: [&str; 2] = ["corp.example", "a.corp.example"];

    fn chosen(
        cas: &Cas,
        (namespace, names): (&str, &[&str]),
        asked: Option<&str>,
        present: Option<&str>,
    ) -> (String, Option<Refusal>) {
        let choice = cas.choose(namespace, &names.iter().copied(), asked, present);
        (choice.ca.name.clone(), choice.refusal)
    }

    #[test]
    fn an_annotation_chooses_what_the_file_allows_to_the_namespace_for_all_names() {
        let cas = cas();
        let of = |namespace, names: &[&str], asked| chosen(&cas, (namespace, names), asked, None);
        assert_eq!(of("web", &NAMES, None), ("a".into(), None));
        assert_eq!(of("web", &NAMES, Some("b")), ("b".into(), None));
        assert_eq!(of("other", &NAMES, Some("b")), ("a".into(), Some(Refusal::Forbidden)));
        assert_eq!(of("other", &CORP, Some("c")), ("c".into(), None));
        let mixed = ["corp.example", "shop.example.com"];
        assert_eq!(of("other", &mixed, Some("c")), ("a".into(), Some(Refusal::Forbidden)));
        assert_eq!(of("web", &NAMES, Some("d")), ("a".into(), Some(Refusal::Forbidden)));
        assert_eq!(of("web", &NAMES, Some("z")), ("a".into(), Some(Refusal::Unknown)));
        assert_eq!(of("web", &NAMES, Some("a")), ("a".into(), None), "the default anyway");
    }

    #[test]
    fn the_first_default_that_fits_decides_and_the_first_ca_without_one() {
        let cas = cas();
        let of = |namespace, names: &[&str]| chosen(&cas, (namespace, names), None, None).0;
        assert_eq!(of("intra", &CORP), "c");
        assert_eq!(of("intra", &NAMES), "a");
        assert_eq!(of("web", &CORP), "a");
    }

    #[test]
    fn a_refused_certificate_stays_with_its_ca_while_that_is_in_the_file() {
        let cas = cas();
        let of = |present| chosen(&cas, ("other", &NAMES), Some("z"), Some(present));
        let unknown = Some(Refusal::Unknown);
        assert_eq!(of("https://d.example/directory"), ("d".into(), unknown));
        assert_eq!(of("https://gone.example/directory"), ("a".into(), unknown));
    }

    #[test]
    fn without_a_file_an_annotation_has_no_effect_and_says_so() {
        let cas = Cas { source: Source::Flags, reissue: Reissue::Now, ..cas() };
        let (_, refusal) = chosen(&cas, ("other", &NAMES), Some("z"), None);
        assert_eq!(refusal, Some(Refusal::NoFile));
    }
}
