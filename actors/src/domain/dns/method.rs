//! Choice of the method that proves a name in DNS: a DNS-PERSIST-01 record that is there, else
//! DNS-01 with an account that is granted the name.

use crate::domain::dns::account::{DnsAccount, DnsAccounts, PERSIST};
use crate::domain::dns::txt::{ChallengeTarget, RecordName};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::name::DnsName;

/// Answers of DNS about a name that is proved there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DnsFacts {
    /// Where the record of DNS-01 is written, or why that is not known.
    pub target: Result<ChallengeTarget, String>,
    /// State of its DNS-PERSIST-01 record.
    pub persist: Persist,
}

/// State of the DNS-PERSIST-01 record of a name, as far as is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Persist {
    /// `--dns-persist-01` is not set.
    Off,
    /// Its record lets our account prove the name.
    Fits,
    /// There is no record that does.
    Missing,
    /// The lookup has failed, for this reason.
    Unknown(String),
    /// The CA does not offer the method.
    NotOffered,
}

/// How a name is proved in DNS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// By its DNS-PERSIST-01 record, without a write.
    Persist,
    /// By DNS-01: the account writes the record there.
    Txt {
        /// Name of the account's Secret.
        account: String,
        /// Provider of the account.
        provider: String,
        /// Where the record is written.
        target: ChallengeTarget,
    },
}

/// Chooses the proof of `name` for an Ingress of `namespace`. `to_set` is the record by which
/// DNS-PERSIST-01 would prove the name, where that method is in use.
///
/// # Errors
/// A failure with the remedy of the user.
pub(crate) fn choose(
    name: &DnsName,
    namespace: &str,
    facts: &DnsFacts,
    accounts: &DnsAccounts,
    to_set: Option<&str>,
) -> Result<Proof, Failure> {
    let mut granted = accounts.granted(namespace, name).peekable();
    if granted.peek().is_none() {
        return Err(failure(name, &not_granted(name, namespace)));
    }
    if facts.persist == Persist::Fits {
        return Ok(Proof::Persist);
    }
    let writers: Vec<&DnsAccount> = granted.filter(|account| account.provider != PERSIST).collect();
    if writers.is_empty() {
        return Err(failure(name, &no_record(facts, to_set)));
    }
    let target = facts.target.clone().map_err(|why| {
        let what = format!(
            "the zone for its record cannot be found ({why}); check the name servers of its domain"
        );
        failure(name, &what)
    })?;
    let writer = writers.iter().find(|account| account.may_write(&target.name));
    let Some(writer) = writer else {
        return Err(failure(name, &led_elsewhere(name, &target.name, writers[0])));
    };
    let (account, provider) = (writer.name.clone(), writer.provider.clone());
    Ok(Proof::Txt { account, provider, target })
}

/// Why no account proves the name for a namespace, with the remedy.
pub(crate) fn not_granted(name: &DnsName, namespace: &str) -> String {
    format!(
        "no DNS account has a zone of {} for namespace {namespace}; whoever runs ingress-acme can add one (docs/dns.md)",
        name.base()
    )
}

fn no_record(facts: &DnsFacts, to_set: Option<&str>) -> String {
    match &facts.persist {
        Persist::Off => {
            "its DNS account is for DNS-PERSIST-01, which --dns-persist-01 turns on".to_owned()
        }
        Persist::Unknown(why) => format!("its DNS-PERSIST-01 record cannot be looked up ({why})"),
        Persist::NotOffered => {
            "its DNS account is for DNS-PERSIST-01, which the CA does not offer".to_owned()
        }
        Persist::Missing | Persist::Fits => {
            let to_set = to_set.unwrap_or("the one that `ingress-acme record` prints");
            format!("its DNS-PERSIST-01 record is missing or does not fit; set {to_set}")
        }
    }
}

fn led_elsewhere(name: &DnsName, target: &RecordName, account: &DnsAccount) -> String {
    format!(
        "_acme-challenge.{} leads to {target}, which DNS account {} may not write: its key `delegation-zones` must have the \
         zone, or the CNAME must go",
        name.base(),
        account.name
    )
}

fn failure(name: &DnsName, why: &str) -> Failure {
    let detail = format!("{name} is proved in DNS: {why}. The CA was not asked");
    Failure::new(FailureClass::Dns, detail).about([name.clone()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dns::account::tests::account;

    fn name() -> DnsName {
        DnsName::parse_certified("*.example.com").unwrap()
    }

    fn at(record: &str) -> ChallengeTarget {
        let [name, zone] = [record, "example.com"].map(|text| RecordName::parse(text).unwrap());
        ChallengeTarget { name, zone }
    }

    fn facts(persist: Persist) -> DnsFacts {
        DnsFacts { target: Ok(at("_acme-challenge.example.com")), persist }
    }

    fn chosen(facts: &DnsFacts, accounts: Vec<DnsAccount>) -> Result<Proof, String> {
        let accounts = DnsAccounts::new(accounts);
        let chosen = choose(&name(), "web", facts, &accounts, Some("THE RECORD"));
        chosen.map_err(|failure| failure.detail)
    }

    fn of_persist() -> DnsAccount {
        DnsAccount { provider: PERSIST.to_owned(), ..account("persist", &["example.com"], &["*"]) }
    }

    #[test]
    fn a_record_that_is_there_goes_before_an_account_that_would_write_one() {
        let writer = account("bind", &["example.com"], &["web"]);
        let both = || vec![of_persist(), writer.clone()];
        assert_eq!(chosen(&facts(Persist::Fits), both()), Ok(Proof::Persist));
        let target = at("_acme-challenge.example.com");
        let (account, provider) = ("bind".to_owned(), "rfc2136".to_owned());
        let by_account = Ok(Proof::Txt { account, provider, target });
        assert_eq!(chosen(&facts(Persist::Missing), both()), by_account);
        assert_eq!(chosen(&facts(Persist::Off), vec![writer]), by_account);
    }

    #[test]
    fn a_namespace_without_a_grant_gets_nothing_whatever_dns_says() {
        let others = account("bind", &["example.com"], &["api"]);
        let told = chosen(&facts(Persist::Fits), vec![others]).unwrap_err();
        assert!(told.contains("for namespace web"), "{told}");
    }

    #[test]
    fn a_missing_record_is_told_exactly() {
        let told = chosen(&facts(Persist::Missing), vec![of_persist()]).unwrap_err();
        assert!(told.contains("set THE RECORD"), "{told}");
    }

    #[test]
    fn a_cname_leads_only_where_the_account_may_write() {
        let facts = DnsFacts { target: Ok(at("www.example.com")), ..facts(Persist::Off) };
        let told = chosen(&facts, vec![account("bind", &["example.com"], &["web"])]).unwrap_err();
        assert!(
            told.contains("leads to www.example.com, which DNS account bind may not"),
            "{told}"
        );
        let unknown = DnsFacts { target: Err("SERVFAIL".to_owned()), persist: Persist::Off };
        let told = chosen(&unknown, vec![account("bind", &["example.com"], &["web"])]).unwrap_err();
        assert!(told.contains("(SERVFAIL)"), "{told}");
    }
}
