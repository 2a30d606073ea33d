//! The CAs of an operator, and the rule by which one is chosen for each certificate.
//!
//! The flags are a list with one CA, and one fallback. A file (`--cas-file`) names many. The
//! identity of a CA is the URL of its directory: its name is for people, and may change.

mod choice;
mod file;

use std::time::Duration;

use crate::domain::certificate::KeyAlgorithm;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::name::DnsName;
use crate::domain::public_name::{PublicCa, is_within};
pub use choice::{Choice, Refusal};
pub use file::{CasFile, Readers, Unusable};

/// One CA.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ca {
    /// Name for people, by which an annotation chooses the CA.
    pub name: String,
    /// URL of the ACME directory: the identity of the CA.
    pub directory: String,
    /// Further root certificates for connections to the CA: PEM, or the path of a file.
    pub roots: Option<String>,
    /// Secret in the operator's namespace with the external account.
    pub external_account: Option<String>,
    /// Contact of the account.
    pub contact: Option<String>,
    /// ACME profile of certificates whose Ingresses ask for none.
    pub profile: Option<String>,
    /// Common name of the preferred chain's topmost issuer.
    pub preferred_chain: Option<String>,
    /// Algorithm of keys for Ingresses that ask for none.
    pub algorithm: Option<KeyAlgorithm>,
    /// Whether orders are delayed that the CA would soon refuse; `None` decides by the directory.
    pub guards: Option<bool>,
    /// Whether the CA certifies public names only; `None` before that is known.
    pub public: Option<PublicCa>,
    /// CAs that are asked when this one has failed for long, in order.
    pub fallbacks: Vec<FallbackTo>,
    /// Directory of the CA that validates first what this one could not validate.
    pub rehearsal: Option<String>,
    /// Who may choose the CA by the annotation.
    pub allow: Vec<Scope>,
}

/// A fallback of a CA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FallbackTo {
    /// Directory of the fallback CA.
    pub directory: String,
    /// Time that the CA before must have failed for.
    pub after: Duration,
}

/// Namespaces and domains.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scope {
    /// Names of namespaces, or `*`; none means all.
    pub namespaces: Vec<String>,
    /// Domains, each with all names under it; none means all.
    pub domains: Vec<String>,
}

/// The CA of the certificates within a scope that choose none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DefaultCa {
    /// The scope.
    pub scope: Scope,
    /// Directory of the CA.
    pub directory: String,
}

/// When a certificate of another CA than the one that it should have is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reissue {
    /// At its next renewal.
    #[default]
    AtRenewal,
    /// Now, within the limits of the new CA.
    Now,
}

/// Where the list is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Source {
    /// The flags, such as `--acme-directory`.
    #[default]
    Flags,
    /// `--cas-file`.
    File,
}

/// All CAs. There is always a first one, which is the default where no rule names another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cas {
    /// The first CA.
    pub first: Ca,
    /// The others, in order.
    pub others: Vec<Ca>,
    /// Rules for the default; the first that fits decides.
    pub defaults: Vec<DefaultCa>,
    /// What a changed file means for certificates that are there.
    pub reissue: Reissue,
    /// Where the list is from.
    pub source: Source,
}

impl Ca {
    /// Whether the CA certifies public names only, as far as is known.
    pub(crate) fn is_public(&self) -> bool {
        !matches!(self.public, None | Some(PublicCa::No))
    }
}

impl Cas {
    /// The only CA of a command's flags.
    pub fn alone(directory: &str) -> Self {
        let first = Ca { directory: directory.to_owned(), ..Ca::default() };
        Self { first, reissue: Reissue::Now, ..Self::default() }
    }

    /// All CAs, in order.
    pub fn all(&self) -> impl Iterator<Item = &Ca> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The same, to be changed.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Ca> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// Whether a certificate of another CA than the one that it should have is replaced now.
    pub fn reissues_now(&self) -> bool {
        self.reissue == Reissue::Now
    }

    /// The CA with this directory.
    pub fn at(&self, directory: &str) -> Option<&Ca> {
        self.all().find(|ca| ca.directory == directory)
    }

    /// The CA with this name.
    pub fn named(&self, name: &str) -> Option<&Ca> {
        self.all().find(|ca| ca.name == name)
    }

    /// Whether the CA of a certificate certifies public names only; `None` where a flag decides it.
    pub(crate) fn are_public_only(
        &self,
        namespace: &str,
        names: &[DnsName],
        asked: Option<&str>,
    ) -> Option<bool> {
        if self.source == Source::Flags {
            return None;
        }
        let names = names.iter().map(DnsName::as_str);
        let choice = self.choose(namespace, &names, asked, None);
        // Nothing new is ordered after a refusal, and another CA may renew what is there.
        Some(choice.refusal.is_none() && choice.ca.is_public())
    }

    /// Algorithm of the key for a certificate of the CA at `directory`: that of the Ingress, else
    /// that of this CA. After a refusal or a failure it is not the CA that the Ingress has by the
    /// rules.
    pub(crate) fn algorithm_at(
        &self,
        directory: &str,
        desired: &DesiredCertificate,
    ) -> KeyAlgorithm {
        if desired.asks_algorithm || self.source == Source::Flags {
            return desired.algorithm;
        }
        self.at(directory).and_then(|ca| ca.algorithm).unwrap_or_default()
    }

    /// The CA of a journaled issuance: the one that it names, or the first one of the flags.
    pub fn of_issuance(&self, directory: Option<&str>) -> Option<&Ca> {
        directory.map_or(Some(&self.first), |directory| self.at(directory))
    }

    /// How an issuance names its CA: not at all, where that is the first one of the flags.
    pub fn mark<'a>(&self, directory: &'a str) -> Option<&'a str> {
        let is_first = self.source == Source::Flags && self.first.directory == directory;
        (!is_first).then_some(directory)
    }
}

impl Scope {
    /// Whether certificates of `namespace` for `names` are within the scope.
    fn has<'n>(&self, namespace: &str, mut names: impl Iterator<Item = &'n str>) -> bool {
        let all = self.namespaces.is_empty();
        let within = |name: &str| self.domains.iter().any(|domain| is_within(name, domain));
        let here = self.namespaces.iter().any(|one| one == "*" || one == namespace);
        (all || here) && (self.domains.is_empty() || names.all(within))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file with the CAs a (the default), b (which namespace `web` may choose for all names), c
    /// (for names under corp.example), and d (which nobody may choose).
    pub(crate) fn cas() -> Cas {
        let ca = |name: &str| Ca {
            name: name.to_owned(),
            directory: format!("https://{name}.example/directory"),
            ..Ca::default()
        };
        let scope = |namespaces: &[&str], domains: &[&str]| Scope {
            namespaces: namespaces.iter().map(|&one| one.to_owned()).collect(),
            domains: domains.iter().map(|&one| one.to_owned()).collect(),
        };
        let b = Ca { allow: vec![scope(&["web"], &[])], ..ca("b") };
        let c = Ca { allow: vec![scope(&["*"], &["corp.example"])], ..ca("c") };
        let of_intra = DefaultCa {
            scope: scope(&["intra"], &["corp.example"]),
            directory: c.directory.clone(),
        };
        Cas {
            first: ca("a"),
            others: vec![b, c, ca("d")],
            defaults: vec![of_intra],
            reissue: Reissue::AtRenewal,
            source: Source::File,
        }
    }

    #[test]
    fn an_issuance_without_a_directory_is_one_of_the_first_ca_of_the_flags() {
        let file = cas();
        let flags = Cas { source: Source::Flags, ..cas() };
        let first = file.first.directory.as_str();
        assert_eq!((flags.mark(first), file.mark(first)), (None, Some(first)));
        assert_eq!(flags.mark("https://b.example/directory"), Some("https://b.example/directory"));
        for cas in [&file, &flags] {
            assert_eq!(cas.of_issuance(None), Some(&cas.first));
            assert_eq!(cas.of_issuance(cas.mark(first)), Some(&cas.first));
            assert_eq!(cas.of_issuance(Some("https://gone.example")), None);
        }
    }
}
