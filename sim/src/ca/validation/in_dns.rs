//! DNS-01 in the words of Boulder (`va/dns.go`), and DNS-PERSIST-01 in those of Pebble
//! (`va/va.go`).

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use jiff::Timestamp;

use super::super::documents::CAA_IDENTITY;
use super::{Problem, Validation};

/// Whitespace around the parts of a record (RFC 8659 §4.2).
const WHITESPACE: [char; 2] = [' ', '\t'];

/// Checks that one of the texts is the digest of the key authorization (RFC 8555 §8.4).
pub(super) fn challenge(
    (name, texts): &(String, Vec<String>),
    wanted: &Validation,
) -> Result<(), Problem> {
    let expected = BASE64URL.encode(digest(&SHA256, wanted.answer.as_bytes()));
    if texts.contains(&expected) {
        return Ok(());
    }
    let Some(first) = texts.first() else {
        return Err(Problem::unauthorized(format!("No TXT record found at {name}")));
    };
    let more = match texts.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let detail = format!("Incorrect TXT record {first:?}{more} found at {name}");
    Err(Problem::unauthorized(detail))
}

/// Parameters of a record that names the CA.
#[derive(Default)]
struct Parameters<'a> {
    account: Option<&'a str>,
    wildcard: bool,
    until: Option<i64>,
}

/// Checks that one of the records lets the account be validated for the name.
pub(super) fn persistent(
    records: &[String],
    name: &str,
    account_url: &str,
    now: Timestamp,
) -> Result<(), Problem> {
    if records.is_empty() {
        let detail = "No TXT records found for DNS-PERSIST-01 challenge";
        return Err(Problem::unauthorized(detail));
    }
    let (mut malformed, mut unauthorized) = (Vec::new(), Vec::new());
    for record in records {
        let mut parts = record.split(';').map(|part| part.trim_matches(WHITESPACE));
        if parts.next() != Some(CAA_IDENTITY) {
            continue;
        }
        let about = format!(
            "Error parsing DNS-PERSIST-01 challenge TXT record with issuer-domain-name {CAA_IDENTITY:?}"
        );
        match parameters(parts) {
            Err(why) => malformed.push(format!("{about}: {why}")),
            Ok(read) => match refusal(&read, name.starts_with("*."), account_url, now) {
                None => return Ok(()),
                Some(why) => unauthorized.push(format!("{about}{why}")),
            },
        }
    }
    if !malformed.is_empty() {
        return Err(Problem::malformed(malformed.join("; ")));
    }
    if unauthorized.is_empty() {
        let detail = "No valid TXT record found for DNS-PERSIST-01 challenge";
        return Err(Problem::unauthorized(detail));
    }
    Err(Problem::unauthorized(unauthorized.join("; ")))
}

fn refusal(
    read: &Parameters<'_>,
    wildcard: bool,
    account_url: &str,
    now: Timestamp,
) -> Option<String> {
    let account = read.account.unwrap_or_default();
    if account != account_url {
        return Some(format!(": accounturi mismatch: expected {account_url:?}, got {account:?}"));
    }
    if wildcard && !read.wildcard {
        return Some(": policy mismatch: expected \"wildcard\", got \"\"".to_owned());
    }
    let until = read.until.filter(|until| now.as_second() > *until)?;
    Some(format!(", validation time {now} is after persistUntil {until}"))
}

fn parameters<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Parameters<'a>, String> {
    let (mut read, mut tags) = (Parameters::default(), Vec::new());
    for part in parts {
        if part.is_empty() {
            return Err("empty parameter or trailing semicolon provided".to_owned());
        }
        let pair = part.split_once('=');
        let (tag, value) =
            pair.ok_or_else(|| format!("malformed parameter {part:?} should be tag=value pair"))?;
        let tag = tag.trim_matches(WHITESPACE).to_ascii_lowercase();
        let value = value.trim_matches(WHITESPACE);
        if tag.is_empty() {
            return Err(format!("malformed parameter {part:?}, empty tag"));
        }
        if !value.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(format!("malformed value {value:?} for tag {tag:?}"));
        }
        match tag.as_str() {
            "accounturi" if value.is_empty() => {
                return Err("empty value provided for mandatory accounturi".to_owned());
            }
            "accounturi" => read.account = Some(value),
            "policy" => read.wildcard = value.eq_ignore_ascii_case("wildcard"),
            "persistuntil" => {
                let malformed = |_| format!("malformed persistUntil timestamp {value:?}");
                read.until = Some(value.parse().map_err(malformed)?);
            }
            _ => {}
        }
        if tags.contains(&tag) {
            return Err(format!("duplicate parameter {tag:?}"));
        }
        tags.push(tag);
    }
    if read.account.is_none() {
        return Err("missing mandatory accountURI parameter".to_owned());
    }
    Ok(read)
}
