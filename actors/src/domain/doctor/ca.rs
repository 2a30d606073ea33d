//! The CA: its directory and terms, the clocks, and the proxy on the way to the CA.

use super::{Check, Fact, Finding, joined};
use crate::domain::limits;

/// Number of milliseconds in a second.
const SECOND: u64 = 1_000;

/// The directory of a CA (RFC 8555 §7.1.1), as `doctor` reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directory {
    /// `meta.termsOfService`.
    pub terms: Option<String>,
    /// `meta.externalAccountRequired`.
    pub external_account: bool,
    /// Names of `meta.profiles`.
    pub profiles: Vec<String>,
}

/// The operator's account at a CA, as far as its Secret says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Account {
    /// It is registered.
    Registered,
    /// There is none.
    None,
    /// The key that all CAs of a file share is there. Which of them have an account of it is not
    /// noted.
    SharedKey,
    /// The Secret cannot be read.
    Unread,
}

/// Wishes of the operator's flags or of its file, and its account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wishes {
    /// Name of the CA in the file of `--cas-file`.
    pub name: Option<String>,
    /// URL of the directory.
    pub url: String,
    /// Profile of certificates whose Ingresses ask for none.
    pub profile: Option<String>,
    /// Whether an external account is named for this CA.
    pub has_external_account: bool,
    /// The operator's account.
    pub account: Account,
}

impl Wishes {
    /// The CA in words.
    fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("CA {name}: {}", self.url),
            None => self.url.clone(),
        }
    }

    /// The flag, or the field of the CA in the file.
    fn setting<'a>(&self, flag: &'a str, field: &'a str) -> &'a str {
        if self.name.is_some() { field } else { flag }
    }
}

/// The file of the CAs cannot be read where the command runs.
pub fn unread_file(why: &str) -> Finding {
    Finding::fail(Check::Directory, why, "name a readable copy of the file with --cas-file")
}

/// Whether the CA can be used as the flags say.
pub fn directory(wishes: &Wishes, found: &Fact<Directory>) -> Finding {
    let (check, url) = (Check::Directory, wishes.shown());
    let found = match found {
        Err(why) => {
            return Finding::fail(
                check,
                &format!("{url} cannot be read from here: {why}"),
                &format!(
                    "check {} for a private root, HTTPS_PROXY, and egress rules for its port",
                    wishes.setting("--acme-directory, --acme-ca-file", "`directory`, `roots`")
                ),
            );
        }
        Ok(found) => found,
    };
    if found.external_account
        && !wishes.has_external_account
        && wishes.account != Account::Registered
    {
        return without_external_account(wishes);
    }
    if let Some(profile) = wishes.profile.as_ref().filter(|one| !found.profiles.contains(one)) {
        let offered =
            if found.profiles.is_empty() { "none".to_owned() } else { joined(&found.profiles) };
        return Finding::fail(
            check,
            &format!("{url} has no profile {profile}; its profiles: {offered}"),
            wishes.setting("correct --profile", "correct `profile` of that CA"),
        );
    }
    let terms = match &found.terms {
        Some(terms) => format!("terms of service: {terms}, agreed to at registration"),
        None => "without terms of service".to_owned(),
    };
    let account = match wishes.account {
        Account::Registered => "the account is registered",
        Account::None => "no account yet: it is registered with the first order",
        Account::SharedKey => "the account key of --cas-file is there",
        Account::Unread => "the account's Secret may not be read by you",
    };
    Finding::ok(check, &format!("{url} answers; {terms}; {account}"))
}

/// A CA that asks for an external account where none is named. With a shared key, the account may
/// be there already.
fn without_external_account(wishes: &Wishes) -> Finding {
    let url = wishes.shown();
    let seen = format!("{url} registers accounts only with an external account (RFC 8555 §7.3.4)");
    let named = wishes.setting("with --eab-secret", "in `externalAccount`");
    let advice = format!("create the Secret with kid and hmac, and name it {named}");
    let is_unknown = wishes.account == Account::SharedKey;
    let judged = if is_unknown { Finding::warn } else { Finding::fail };
    judged(Check::Directory, &seen, &advice)
}

/// Clocks, each in milliseconds ahead of that of the machine with the command, or of the API
/// server; negative if behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clocks {
    /// Name of the CA in the file of `--cas-file`.
    pub name: Option<String>,
    /// Clock of the CA, by the header `Date`.
    pub ca: Option<i64>,
    /// Clock of the API server, by the header `Date`.
    pub api_server: Option<i64>,
    /// Clock of the leader against that of the API server: it shows in the Lease only if it is
    /// ahead, for a renewal is as old as a few seconds.
    pub leader: Option<i64>,
    /// Whether the machine is a node of the cluster.
    pub is_node: bool,
}

impl Clocks {
    /// Name of the clock that counts, and milliseconds by which the others are ahead of it.
    fn compared(&self) -> Option<(String, Vec<(&'static str, i64)>)> {
        let Self { ref name, ca, api_server, leader, is_node } = *self;
        let named = |name: &String| format!("CA {name}");
        let (name, reference) = match (ca, api_server) {
            (Some(ca), _) => (name.as_ref().map_or_else(|| "the CA".to_owned(), named), ca),
            (None, Some(api)) => ("the API server".to_owned(), api),
            (None, None) => return None,
        };
        let api = api_server.map(|api| api.saturating_sub(reference));
        let others = [
            ("the API server", api.filter(|_| ca.is_some())),
            ("this node", is_node.then_some(reference.saturating_neg())),
            ("the leader", api.zip(leader).map(|(api, leader)| api.saturating_add(leader))),
        ];
        Some((name, others.into_iter().filter_map(|(of, ahead)| Some((of, ahead?))).collect()))
    }
}

/// Whether the clocks agree.
pub fn clocks(found: &Clocks) -> Finding {
    let check = Check::Clock;
    let Some((reference, others)) = found.compared() else {
        return Finding::skipped(check, "neither the CA nor the API server tells the time");
    };
    if others.is_empty() {
        return Finding::skipped(
            check,
            &format!("no other clock is seen beside that of {reference}"),
        );
    }
    let shown = joined(others.iter().map(|(of, ahead)| {
        let side = if *ahead < 0 { "behind" } else { "ahead" };
        format!("{of} is {} s {side}", ahead.unsigned_abs() / SECOND)
    }));
    let seen = format!("by the clock of {reference}: {shown}");
    let worst = others.iter().map(|(_, ahead)| ahead.unsigned_abs()).max().unwrap_or_default();
    let advice =
        "run NTP on all nodes: with a wrong clock, certificates look expired or not yet valid";
    match u128::from(worst) {
        worst if worst > limits::CLOCK_WRONG.as_millis() => Finding::fail(check, &seen, advice),
        worst if worst > limits::CLOCK_OFF.as_millis() => Finding::warn(check, &seen, advice),
        _ => Finding::ok(check, &seen),
    }
}

/// Proxies in the environment of the Deployment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies {
    /// Host and port of `HTTPS_PROXY`, without its credentials.
    pub https: Option<Fact<String>>,
    /// Whether `HTTP_PROXY` is set.
    pub http: bool,
    /// URLs of directories that are asked through the proxy.
    pub through: Vec<String>,
}

/// The way to the CA. The API server, DNS and the hosts are always asked directly.
pub fn proxy(found: &Fact<Proxies>) -> Finding {
    let check = Check::Proxy;
    let found = match found {
        Err(why) => return Finding::skipped(check, why),
        Ok(found) => found,
    };
    match (&found.https, &found.through[..]) {
        (Some(Err(why)), _) => Finding::fail(
            check,
            &format!("HTTPS_PROXY of the Deployment cannot be used: {why}"),
            "set it to a URL such as http://proxy.example.com:3128",
        ),
        (Some(Ok(proxy)), []) => {
            Finding::ok(check, &format!("NO_PROXY excepts the CA from the proxy {proxy}"))
        }
        (Some(Ok(proxy)), through) => Finding::ok(
            check,
            &format!(
                "{} through {proxy}; API server, DNS and hosts directly, whatever NO_PROXY says",
                joined(through)
            ),
        ),
        (None, _) if found.http => Finding::warn(
            check,
            "HTTP_PROXY is set without HTTPS_PROXY, so the CA is asked directly",
            "set HTTPS_PROXY where the CA is reachable only through the proxy",
        ),
        (None, _) => Finding::ok(check, "none: CA, API server and hosts are asked directly"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::Verdict::{self, Fail, Ok as Well, Skipped, Warn};

    fn wishes() -> Wishes {
        Wishes {
            name: None,
            url: "https://ca.example/dir".to_owned(),
            profile: None,
            has_external_account: false,
            account: Account::Registered,
        }
    }

    #[test]
    fn a_directory_needs_to_answer_and_to_offer_all_that_the_flags_ask_for() {
        let terms = Some("https://ca.example/terms".to_owned());
        let plain =
            Directory { terms, profiles: vec!["classic".to_owned()], ..Directory::default() };
        let bound = Directory { external_account: true, ..plain.clone() };
        let new = Wishes { account: Account::None, ..wishes() };
        let of_file = Wishes { name: Some("own".to_owned()), ..wishes() };
        let shared = Wishes { account: Account::SharedKey, ..of_file.clone() };
        let with = |name: &str| Wishes { profile: Some(name.to_owned()), ..wishes() };
        let cases: [(Wishes, Fact<Directory>, Verdict, &str); 11] = [
            (wishes(), Ok(plain.clone()), Well, "terms of service: https://ca.example/terms"),
            (new.clone(), Ok(plain.clone()), Well, "registered with the first order"),
            (wishes(), Ok(bound.clone()), Well, "the account is registered"),
            (new.clone(), Ok(bound.clone()), Fail, "--eab-secret"),
            (Wishes { has_external_account: true, ..new }, Ok(bound.clone()), Well, "answers"),
            (shared.clone(), Ok(bound), Warn, "name it in `externalAccount`"),
            (shared, Ok(plain.clone()), Well, "CA own: https://ca.example/dir answers"),
            (of_file, Err("timeout".to_owned()), Fail, "check `directory`, `roots`"),
            (with("classic"), Ok(plain.clone()), Well, "answers"),
            (with("tls"), Ok(plain), Fail, "has no profile tls; its profiles: classic"),
            (wishes(), Err("timeout".to_owned()), Fail, "timeout"),
        ];
        for (wishes, found, verdict, words) in cases {
            let finding = directory(&wishes, &found);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.words().contains(words), "{finding:?}");
        }
    }

    #[test]
    fn clocks_may_differ_by_the_time_of_a_request_and_no_more() {
        let judged = |ahead: i64| {
            let (ca, api_server) = (Some(7), Some(7 + ahead));
            clocks(&Clocks { ca, api_server, ..Clocks::default() }).verdict
        };
        let millis = |limit: std::time::Duration| i64::try_from(limit.as_millis()).unwrap();
        let (off, wrong) = (millis(limits::CLOCK_OFF), millis(limits::CLOCK_WRONG));
        for sign in [1, -1] {
            assert_eq!(judged(sign * off), Well);
            assert_eq!(judged(sign * (off + 1)), Warn);
            assert_eq!(judged(sign * wrong), Warn);
            assert_eq!(judged(sign * (wrong + 1)), Fail);
        }
    }

    #[test]
    fn clocks_are_compared_with_that_of_the_ca_or_else_of_the_api_server() {
        let all = Clocks {
            name: None,
            ca: Some(-2_000),
            api_server: Some(-63_500),
            leader: Some(400_000),
            is_node: true,
        };
        let expected = "by the clock of the CA: the API server is 61 s behind, this node is 2 s ahead, the leader is \
                        338 s ahead";
        assert_eq!((clocks(&all).verdict, &*clocks(&all).seen), (Fail, expected));
        let named = clocks(&Clocks { name: Some("own".to_owned()), ..all.clone() });
        assert!(named.seen.starts_with("by the clock of CA own: "), "{}", named.seen);
        let without = clocks(&Clocks { ca: None, is_node: false, ..all });
        assert_eq!(without.seen, "by the clock of the API server: the leader is 400 s ahead");
        let single = Clocks { api_server: Some(9), ..Clocks::default() };
        for few in [single, Clocks { leader: Some(9), ..Clocks::default() }] {
            assert_eq!(clocks(&few).verdict, Skipped, "{few:?}");
        }
        let alone = Clocks { ca: Some(9), ..Clocks::default() };
        assert_eq!(clocks(&alone).verdict, Skipped);
    }

    #[test]
    fn a_proxy_is_named_with_the_directories_that_it_serves() {
        let with = |https: Fact<String>, through: &[&str]| Proxies {
            https: Some(https),
            through: through.iter().map(|one| (*one).to_owned()).collect(),
            ..Proxies::default()
        };
        let proxied = with(Ok("proxy:3128".to_owned()), &["https://ca.example/dir"]);
        let cases = [
            (Proxies::default(), Well, "none"),
            (proxied, Well, "https://ca.example/dir through proxy:3128"),
            (with(Ok("proxy:3128".to_owned()), &[]), Well, "NO_PROXY excepts"),
            (with(Err("no URL".to_owned()), &[]), Fail, "no URL"),
            (Proxies { http: true, ..Proxies::default() }, Warn, "set HTTPS_PROXY"),
        ];
        for (found, verdict, words) in cases {
            let finding = proxy(&Ok(found));
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.words().contains(words), "{finding:?}");
        }
        assert_eq!(proxy(&Err("forbidden".to_owned())).verdict, Skipped);
    }
}
