//! `issuer-domain-names` of a DNS-PERSIST-01 challenge (draft-ietf-acme-dns-persist §3.1), which
//! instant-acme does not keep.

use std::borrow::Cow;

use ingress_acme_actors::domain::challenge::Method;
use ingress_acme_actors::domain::dns::txt::RecordName;
use ingress_acme_actors::domain::limits;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Authorization<'a> {
    #[serde(borrow)]
    challenges: Vec<Challenge<'a>>,
}

#[derive(Deserialize)]
struct Challenge<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(rename = "issuer-domain-names", default)]
    issuers: Value,
}

/// Reads the names from an authorization (RFC 8555 §7.1.4). `None` without a challenge, and of a
/// malformed one, which a client must not use: no name, more than [`limits::ISSUER_NAMES`], or one
/// that is no domain name in lower case without a trailing dot.
pub(super) fn issuer_names(authorization: &[u8]) -> Option<Vec<String>> {
    let Authorization { challenges } = serde_json::from_slice(authorization).ok()?;
    let mut challenges = challenges.into_iter();
    let persist = challenges.find(|one| one.r#type == Method::DnsPersist01.as_str())?;
    let Value::Array(names) = persist.issuers else { return None };
    if names.is_empty() || names.len() > limits::ISSUER_NAMES {
        return None;
    }
    names.into_iter().map(domain_name).collect()
}

fn domain_name(value: Value) -> Option<String> {
    let Value::String(name) = value else { return None };
    RecordName::parse(&name).is_ok_and(|read| read.as_str() == name).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(names: &Value) -> Option<Vec<String>> {
        let challenges = json!([
            {"type": "dns-01", "token": "t"},
            {"type": "dns-persist-01", "issuer-domain-names": names},
        ]);
        issuer_names(json!({ "challenges": challenges }).to_string().as_bytes())
    }

    #[test]
    fn names_are_read_as_they_are_and_a_malformed_challenge_is_none() {
        let names = ["authority.example", "ca.example.net"];
        assert_eq!(read(&json!(names)).unwrap(), names);
        let ten = vec!["ca.example"; limits::ISSUER_NAMES];
        assert_eq!(read(&json!(ten)).unwrap().len(), 10);
        let malformed = [
            json!([]),
            json!(vec!["ca.example"; limits::ISSUER_NAMES + 1]),
            json!(["CA.example"]),
            json!(["ca.example."]),
            json!(["ca example"]),
            json!(["ca.example", 7]),
            json!([format!("{}ca.example", "x.".repeat(130))]),
            json!("ca.example"),
            Value::Null,
        ];
        for names in malformed {
            assert_eq!(read(&names), None, "{names}");
        }
        let other =
            br#"{"challenges": [{"type": "dns-01", "issuer-domain-names": ["ca.example"]}]}"#;
        assert_eq!(issuer_names(other), None);
    }

    proptest! {
        #[test]
        fn any_answer_gives_few_short_names_or_none(
            names in prop::collection::vec("[a-z.]{0,300}|.{0,20}", 0..20), odd in ".{0,200}",
        ) {
            prop_assert_eq!(issuer_names(odd.as_bytes()), None);
            if let Some(read) = read(&json!(names)) {
                prop_assert_eq!(&read, &names);
                prop_assert!(read.len() <= 10 && read.iter().all(|name| name.len() <= 253));
            }
        }
    }
}
