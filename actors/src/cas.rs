//! The CAs at work: the list of them, their clients, and for each its limits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::cas::{Ca, Cas, FallbackTo, Reissue, Source};
use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::Issuance;
use crate::domain::public_name::PublicCa;
use crate::domain::rate_limits::guards::Guards;
use crate::domain::rate_limits::shares::{ShareSettings, Shares};
use crate::domain::rate_limits::{LimitWait, RateLimits};
use crate::domain::time::Timestamp;
use crate::journal::ledger::Ledger;
use crate::ports::CertificateAuthority;

/// The CAs, and a client for each.
#[derive(Clone, Default)]
pub struct CaSet {
    /// The list.
    pub cas: Rc<Cas>,
    /// Clients by directory.
    pub clients: BTreeMap<String, CaClient>,
}

/// Client of a CA.
#[derive(Clone)]
pub struct CaClient {
    /// The CA.
    pub ca: Rc<dyn CertificateAuthority>,
    /// Whether it is asked through a proxy.
    pub through_proxy: bool,
    /// Whether orders are delayed that the CA would soon refuse.
    pub guards: bool,
}

/// The fallback CA: asked when the first one has failed for long.
#[derive(Clone)]
pub struct FallbackCa {
    /// The CA.
    pub ca: Rc<dyn CertificateAuthority>,
    /// Directory URL.
    pub directory: String,
    /// Time that the first CA must have failed for.
    pub after: Duration,
    /// Whether the CA is a known public one, which is told no internal name.
    pub is_public: bool,
}

impl FallbackCa {
    /// Its place among the fallbacks of the first CA.
    pub(crate) fn terms(&self) -> FallbackTo {
        FallbackTo { directory: self.directory.clone(), after: self.after }
    }
}

/// The CA that validates names which the first CA could not validate.
#[derive(Clone)]
pub struct RehearsalCa {
    /// The CA.
    pub ca: Rc<dyn CertificateAuthority>,
    /// Directory URL.
    pub directory: String,
    /// Whether the CA is a known public one, which is told no internal name.
    pub is_public: bool,
}

/// Limits of one CA.
#[derive(Default)]
pub(crate) struct CaLimits {
    /// Rate limits by refusals of the CA or by guards, and the jobs that wait for them.
    pub rate_limits: RefCell<RateLimits>,
    /// The operator's own limits, just below those of the CA.
    pub guards: RefCell<Guards>,
    /// Shares of the namespaces in limits that all share.
    pub shares: RefCell<Shares>,
}

/// The CAs of an operator, which may be others after the file of `--cas-file` has changed.
pub(crate) struct OperatorCas {
    set: RefCell<Rc<CaSet>>,
    /// By directory. Those of CAs that left the file stay: it may come back.
    limits: RefCell<BTreeMap<String, Rc<CaLimits>>>,
    /// `--max-orders-per-namespace`.
    most: Option<u32>,
}

impl CaSet {
    /// The CAs of the flags.
    pub(crate) fn of_flags(
        (directory, client, public): (&str, CaClient, PublicCa),
        fallback: Option<&FallbackCa>,
        rehearsal: Option<&RehearsalCa>,
    ) -> Self {
        let first = Ca {
            name: "first".to_owned(),
            directory: directory.to_owned(),
            fallbacks: fallback.iter().map(|one| one.terms()).collect(),
            rehearsal: rehearsal.map(|one| one.directory.clone()),
            public: Some(public),
            ..Ca::default()
        };
        let fallback = fallback.map(|one| ("fallback", &one.directory, one.is_public, &one.ca));
        let rehearsal = rehearsal.map(|one| ("rehearsal", &one.directory, one.is_public, &one.ca));
        let mut clients = BTreeMap::from([(directory.to_owned(), client)]);
        let others = fallback.into_iter().chain(rehearsal).map(|(name, directory, public, ca)| {
            let client = CaClient { ca: ca.clone(), through_proxy: false, guards: false };
            clients.insert(directory.clone(), client);
            let (name, directory) = (name.to_owned(), directory.clone());
            Ca { name, directory, public: public.then_some(PublicCa::Yes), ..Ca::default() }
        });
        let others = others.collect();
        let (defaults, reissue, source) = (Vec::new(), Reissue::Now, Source::Flags);
        let cas = Cas { first, others, defaults, reissue, source };
        Self { cas: Rc::new(cas), clients }
    }

    /// The client of a CA.
    pub(crate) fn client(&self, directory: &str) -> Option<&CaClient> {
        self.clients.get(directory)
    }

    /// The client of the CA of an issuance.
    pub(crate) fn of(&self, issuance: &Issuance) -> Option<&CaClient> {
        let ca = self.cas.of_issuance(issuance.directory.as_deref())?;
        self.client(&ca.directory)
    }

    /// Whether the certificate in a Secret is meant to be one of these CAs.
    pub(crate) fn is_known(&self, found: Option<&SecretView>) -> bool {
        let meant_for = found.and_then(SecretView::meant_for);
        meant_for.is_some_and(|directory| self.cas.at(directory).is_some())
    }

    /// The CA that decides about a job: the one that its issuance is at, or the one that its
    /// certificate should have.
    pub(crate) fn deciding(
        &self,
        issuance: Option<&Issuance>,
        desired: Option<&DesiredCertificate>,
        found: Option<&SecretView>,
    ) -> Deciding<'_> {
        let issuance = issuance.filter(|issuance| !issuance.is_fallback);
        let at = issuance.map(|one| self.cas.of_issuance(one.directory.as_deref()));
        let choice = || desired.map_or(&self.cas.first, |one| self.cas.choice_for(one, found).ca);
        let is_gone = matches!(at, Some(None));
        Deciding { ca: at.flatten().unwrap_or_else(choice), is_gone }
    }
}

/// The CA that decides about a job.
pub(crate) struct Deciding<'a> {
    /// The CA.
    pub ca: &'a Ca,
    /// Whether the CA of the issuance is no longer configured.
    pub is_gone: bool,
}

impl OperatorCas {
    /// The CAs of the ports and the settings.
    pub(crate) fn new(set: Rc<CaSet>, most: Option<u32>) -> Self {
        Self { set: RefCell::new(set), limits: RefCell::default(), most }
    }

    /// The CAs at this moment.
    pub(crate) fn set(&self) -> Rc<CaSet> {
        self.set.borrow().clone()
    }

    /// Uses other CAs from now on. The journaled rate limits of each are in the ledger.
    pub(crate) fn replace(&self, set: Rc<CaSet>, ledger: &Ledger, now: Timestamp) {
        let mut limits = self.limits.borrow_mut();
        for ca in set.cas.all() {
            let is_on = set.client(&ca.directory).is_some_and(|client| client.guards);
            let settings = ShareSettings { are_on: is_on, most: self.most };
            let (guards, shares) = (Guards::new(is_on), Shares::new(settings));
            let Some(kept) = limits.get(&ca.directory) else {
                let rate_limits = RateLimits::of(ledger.limit_hits(&ca.directory), now).into();
                let of_it = CaLimits { rate_limits, guards: guards.into(), shares: shares.into() };
                limits.insert(ca.directory.clone(), Rc::new(of_it));
                continue;
            };
            if kept.guards.borrow().are_on() != is_on {
                (*kept.guards.borrow_mut(), *kept.shares.borrow_mut()) = (guards, shares);
            }
        }
        *self.set.borrow_mut() = set;
    }

    /// Limits of a CA.
    pub(crate) fn limits(&self, directory: &str) -> Rc<CaLimits> {
        let mut limits = self.limits.borrow_mut();
        if let Some(known) = limits.get(directory) {
            return known.clone();
        }
        limits.entry(directory.to_owned()).or_default().clone()
    }

    /// Limits of all CAs, with the names of those that have one.
    pub(crate) fn all_limits(&self) -> Vec<(String, Rc<CaLimits>)> {
        let set = self.set();
        let name = |directory: &String| {
            set.cas.at(directory).map_or_else(|| directory.clone(), |ca| ca.name.clone())
        };
        let limits = self.limits.borrow();
        limits.iter().map(|(directory, limits)| (name(directory), limits.clone())).collect()
    }

    /// Removes a Secret from the queues of all CAs but one.
    pub(crate) fn leave(&self, stream: &SecretKey, but: Option<&str>, now: Timestamp) {
        for (directory, limits) in &*self.limits.borrow() {
            if Some(directory.as_str()) != but {
                limits.rate_limits.borrow_mut().leave(stream, now);
            }
        }
    }

    /// Place of a Secret in the queue of a CA, if any.
    pub(crate) fn waiting(&self, stream: &SecretKey) -> Option<LimitWait> {
        let (set, limits) = (self.set(), self.limits.borrow());
        let (directory, wait) = limits.iter().find_map(|(directory, limits)| {
            Some((directory, limits.rate_limits.borrow().waiting(stream)?))
        })?;
        let several = set.cas.source == Source::File;
        let ca = set.cas.at(directory).filter(|_| several).map(|ca| ca.name.clone());
        Some(LimitWait { ca, ..wait })
    }
}

/// Source of the CAs of a file.
pub type CaSets = watch::Receiver<Rc<CaSet>>;
