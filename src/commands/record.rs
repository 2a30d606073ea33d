//! `ingress-acme record`: the DNS-PERSIST-01 record by which the operator's ACME account proves a
//! name, and whether it is there now. Changes nothing.

use std::process::ExitCode;

use anyhow::{Context, ensure};
use ingress_acme_actors::domain::caa::Issuer;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::dns::persist::{
    Meaning, meaning, permits, record_to_set, value_to_set,
};
use ingress_acme_actors::domain::dns::txt::RecordName;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{ChallengeDns, Clock};
use serde::Serialize;

use crate::commands::caa::registered;
use crate::commands::cli::{CaaArgs, RecordArgs, RecordOutput};
use crate::commands::status::print;
use crate::dns_and_http::challenge_dns::ChallengeRecords;
use crate::process::ca_sets::cas_of_a_command;
use crate::process::clock::SystemClock;

/// What is printed of one CA, with the fields of `-o json`.
#[derive(Debug, Serialize)]
struct Report {
    /// The CA: its name in the file of `--cas-file`, or the URL of its directory.
    ca: String,
    /// Name of the record.
    name: String,
    /// Value to set.
    value: String,
    /// The same as in a zone file.
    record: String,
    /// Whether a record that is there proves the name.
    seen: bool,
    /// The records that are there.
    found: Vec<Found>,
}

/// A record that is there.
#[derive(Debug, Serialize)]
struct Found {
    value: String,
    meaning: String,
}

/// Runs `record`. Fails where a CA has no record yet that proves the name.
pub async fn show(args: RecordArgs) -> anyhow::Result<ExitCode> {
    let RecordArgs { output, name: args } = args;
    let (host, nameserver) = (&args.host, args.nameserver);
    let issuers = issuers(&args).await?;
    let dns = ChallengeRecords::new(nameserver, nameserver.as_slice())?;
    let records = dns.persist_records(host).await.map_err(anyhow::Error::msg);
    let records = records.context("the present records are not known")?;
    let now = SystemClock::default().now();
    let (mut reports, mut is_complete) = (Vec::new(), issuers.are_all);
    for (ca, issuer) in issuers.found {
        let Some(report) = report(&ca, host, (&issuer, records.as_slice()), now) else {
            is_complete = false;
            eprintln!("{ca} names no caaIdentities (RFC 8555 §7.1.1), so no record can name it");
            continue;
        };
        reports.push(report);
    }
    ensure!(!reports.is_empty(), "no record can name one of these CAs");
    let printed = print(&match output {
        RecordOutput::Text => {
            reports.iter().map(|one| text(host, one)).collect::<Vec<_>>().join("\n\n")
        }
        RecordOutput::Json => serde_json::to_string_pretty(&reports)?,
    });
    let is_seen = is_complete && reports.iter().all(|report| report.seen);
    Ok(if is_seen { printed } else { ExitCode::FAILURE })
}

/// The CAs that are meant, each with its account.
struct Issuers {
    found: Vec<(String, Issuer)>,
    /// Whether all of them have answered, and have an account.
    are_all: bool,
}

/// Asks each CA that is meant. One that does not answer stops nothing.
async fn issuers(args: &CaaArgs) -> anyhow::Result<Issuers> {
    let (client, namespace) = (args.cluster.connect().await?, args.own_namespace());
    let Some(path) = args.cas_file.as_deref() else {
        let (_, issuer) = registered(args, &client, &namespace).await?;
        let found = vec![(args.acme_directory.to_string(), issuer)];
        return Ok(Issuers { found, are_all: true });
    };
    let (mut found, mut are_all) = (Vec::new(), true);
    for (ca, acme) in &cas_of_a_command(&client, &namespace, path)?.all {
        if args.ca.as_ref().is_some_and(|name| *name != ca.name) {
            continue;
        }
        match acme.known_issuer().await {
            Ok(Some(issuer)) => found.push((ca.name.clone(), issuer)),
            Ok(None) => {
                are_all = false;
                eprintln!("{}: no account yet; the first order makes one", ca.name);
            }
            Err(error) => {
                are_all = false;
                eprintln!("{}: {error}", ca.name);
            }
        }
    }
    ensure!(!found.is_empty(), "the file of --cas-file has no such CA with an account");
    Ok(Issuers { found, are_all })
}

fn report(
    ca: &str,
    host: &DnsName,
    (issuer, records): (&Issuer, &[String]),
    now: Timestamp,
) -> Option<Report> {
    let value = value_to_set(issuer, host)?;
    let name = RecordName::of_persist(host)?.to_string();
    let seen = permits(records, issuer, host, now);
    let found = records.iter().map(|value| {
        let meaning = words(&meaning(value, issuer, host, now));
        Found { value: cut(value, limits::PROBE_TEXT_MAX), meaning }
    });
    let (ca, record) = (ca.to_owned(), record_to_set(issuer, host));
    Some(Report { ca, name, value, record, seen, found: found.collect() })
}

fn words(meaning: &Meaning) -> String {
    match meaning {
        Meaning::Fits => "proves the name".to_owned(),
        Meaning::OtherCa => "is for another CA".to_owned(),
        Meaning::Malformed(why) => format!("cannot be read: {why}"),
        Meaning::OtherAccount => "is for another account".to_owned(),
        Meaning::NoWildcard => {
            "lacks policy=wildcard, without which it proves no wildcard".to_owned()
        }
        Meaning::Ends(until) => {
            format!("ends at {}, too early for an order", Timestamp::from_secs(*until))
        }
    }
}

fn text(host: &DnsName, report: &Report) -> String {
    let mut text = format!(
        "This record lets the account at {} prove {host}, for as long as it is there (DNS-PERSIST-01):\n\n{}\n\n",
        report.ca, report.record
    );
    if report.found.is_empty() {
        text.push_str("Now: no record");
    }
    let found =
        report.found.iter().map(|one| format!("Now: \"{}\"\n     {}", one.value, one.meaning));
    text.push_str(&found.collect::<Vec<_>>().join("\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn of(host: &str, records: &[&str]) -> Report {
        let account = Some("https://ca.example/acct/7".to_owned());
        let issuer = Issuer { domains: vec!["ca.example".to_owned()], account };
        let records: Vec<String> = records.iter().map(|&record| record.to_owned()).collect();
        let host = DnsName::parse_certified(host).unwrap();
        report("ca", &host, (&issuer, records.as_slice()), NOW).unwrap()
    }

    #[test]
    fn the_record_is_printed_with_what_each_present_one_means() {
        let own = "ca.example; accounturi=https://ca.example/acct/7";
        let over = format!("{own}; policy=wildcard; persistUntil=1000000000");
        let host = DnsName::parse_certified("*.example.com").unwrap();
        let printed = text(&host, &of("*.example.com", &["v=spf1 -all", own, &over]));
        let expected = "\
This record lets the account at ca prove *.example.com, for as long as it is there (DNS-PERSIST-01):

_validation-persist.example.com. IN TXT \"ca.example; accounturi=https://ca.example/acct/7; policy=wildcard\"

Now: \"v=spf1 -all\"
     is for another CA
Now: \"ca.example; accounturi=https://ca.example/acct/7\"
     lacks policy=wildcard, without which it proves no wildcard
Now: \"ca.example; accounturi=https://ca.example/acct/7; policy=wildcard; persistUntil=1000000000\"
     ends at 2001-09-09T01:46:40Z, too early for an order";
        assert_eq!(printed, expected);
    }

    #[test]
    fn the_json_says_whether_a_record_proves_the_name() {
        let own = "ca.example; accounturi=https://ca.example/acct/7";
        let report = serde_json::to_value(of("shop.example.com", &[own])).unwrap();
        let expected = serde_json::json!({
            "ca": "ca",
            "name": "_validation-persist.shop.example.com",
            "value": own,
            "record": format!("_validation-persist.shop.example.com. IN TXT \"{own}\""),
            "seen": true,
            "found": [{"value": own, "meaning": "proves the name"}],
        });
        assert_eq!(report, expected);
        assert!(!of("*.example.com", &[own]).seen && !of("example.com", &[]).seen);
    }
}
