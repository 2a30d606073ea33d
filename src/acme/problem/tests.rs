//! Problem documents as sent by CAs.

use serde_json::json;

use super::*;

fn problem(kind: &str, status: u16) -> Problem {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    serde_json::from_value(json!({ "type": kind, "detail": "Because.", "status": status })).unwrap()
}

fn refused(problem: Problem) -> PortError {
    port_error("it failed", &Error::Api(problem))
}

#[test]
fn each_kind_of_problem_has_its_class() {
    let cases = [
        ("unauthorized", 403, FailureClass::Authorization),
        ("connection", 400, FailureClass::Authorization),
        ("dns", 400, FailureClass::Authorization),
        ("tls", 400, FailureClass::Authorization),
        ("incorrectResponse", 400, FailureClass::Authorization),
        ("caa", 403, FailureClass::Caa),
        ("rateLimited", 429, FailureClass::RateLimited),
        ("rejectedIdentifier", 400, FailureClass::Policy),
        ("invalidProfile", 400, FailureClass::Policy),
        ("externalAccountRequired", 400, FailureClass::Rejected),
        ("badCSR", 400, FailureClass::Rejected),
        ("serverInternal", 500, FailureClass::AcmeServer),
        ("somethingNew", 429, FailureClass::RateLimited),
        ("somethingNew", 502, FailureClass::AcmeServer),
        ("somethingNew", 400, FailureClass::Rejected),
    ];
    for (kind, status, expected) in cases {
        assert_eq!(class(&problem(kind, status)), expected, "{kind} {status}");
    }
}

/// Let's Encrypt reports what only some of its networks have seen so.
#[test]
fn a_failed_secondary_validation_is_reported_in_the_words_of_the_ca() {
    let words = "During secondary validation: 192.0.2.1: Fetching http://a.example.com/: Timeout";
    for kind in ["connection", "unauthorized", "dns"] {
        let problem: Problem = serde_json::from_value(json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": words, "status": 400,
        }))
        .unwrap();
        let failure = failure("the CA could not validate", &problem, None);
        assert_eq!(failure.class, FailureClass::Authorization, "{kind}");
        assert!(failure.detail.contains(words), "{}", failure.detail);
        assert!(failure.detail.contains("geo-blocking"), "{}", failure.detail);
    }
}

/// A cluster's resolver seldom verifies DNSSEC, so that the probe sees nothing wrong.
#[test]
fn a_look_up_that_fails_at_the_ca_alone_is_told_with_advice_about_dnssec() {
    let about = |words: &str| {
        let problem = json!({
            "type": "urn:ietf:params:acme:error:dns", "detail": words, "status": 400,
        });
        failure("the CA could not validate", &serde_json::from_value(problem).unwrap(), None).detail
    };
    for words in [
        "DNS problem: SERVFAIL looking up A for a.example.com - the domain's nameservers may be malfunctioning",
        "While processing CAA for a.example.com: DNS problem: SERVFAIL looking up CAA for a.example.com",
        "DNS problem: looking up A for a.example.com: DNSSEC: DNSKEY Missing",
    ] {
        let detail = about(words);
        assert!(detail.contains(words) && detail.contains("DNSSEC signatures"), "{detail}");
    }
    let missing = about("DNS problem: NXDOMAIN looking up A for a.example.com");
    assert!(!missing.contains("DNSSEC"), "{missing}");
}

#[test]
fn what_the_ca_says_about_each_name_is_reported_with_advice() {
    let urn = "urn:ietf:params:acme:error:rejectedIdentifier";
    let problem: Problem = serde_json::from_value(json!({
        "type": "urn:ietf:params:acme:error:compound",
        "detail": "Some identifiers are refused.",
        "status": 400,
        "subproblems": [{
            "type": urn,
            "detail": "The name is on a list",
            "identifier": { "type": "dns", "value": "a.example.com" },
        }],
    }))
    .unwrap();
    let PortError::Permanent(failure) = refused(problem) else { panic!("it will not pass") };
    assert_eq!(failure.class, FailureClass::Policy);
    assert_eq!(
        failure.detail,
        "it failed: Some identifiers are refused (compound); a.example.com: The name is on a list \
         (rejectedIdentifier); correct the Ingress or the operator's flags; a change of the Ingress tries again \
         at once"
    );
}

#[test]
fn a_rate_limit_is_a_pause_and_a_busy_server_is_not() {
    assert!(matches!(refused(problem("rateLimited", 429)), PortError::Permanent(failure)
        if failure.class == FailureClass::RateLimited));
    assert!(matches!(refused(problem("rateLimited", 503)), PortError::Transient { .. }));
    assert!(matches!(refused(problem("slowDown", 429)), PortError::Transient { .. }));
    assert!(matches!(refused(problem("badNonce", 400)), PortError::Transient { .. }));
    assert!(matches!(refused(problem("serverInternal", 500)), PortError::Transient { .. }));
    assert!(matches!(refused(problem("malformed", 400)), PortError::Permanent(_)));
}

#[test]
fn names_that_the_ca_has_paused_wait_for_the_user_and_name_the_page() {
    let problem: Problem = serde_json::from_value(json!({
        "type": "urn:ietf:params:acme:error:rateLimited",
        "detail": "Your account is temporarily prevented from requesting certificates for a.example.com and possibly \
                   others. Please visit: https://ca.example/sfe/v1/unpause?jwt=1",
        "status": 429,
    }))
    .unwrap();
    let PortError::Permanent(failure) = refused(problem) else { panic!("it will not pass") };
    assert_eq!(failure.class, FailureClass::Policy);
    assert!(
        failure.detail.contains("https://ca.example/sfe/v1/unpause?jwt=1"),
        "{}",
        failure.detail
    );
}

#[test]
fn an_error_on_the_way_passes() {
    let broken = Error::Other("connection reset".into());
    let PortError::Transient { detail, .. } = port_error("it failed", &broken) else {
        panic!("it may pass")
    };
    assert_eq!(detail, "it failed: connection reset");
    let permanent = port_error("it failed", &Error::KeyRejected);
    assert!(matches!(permanent, PortError::Permanent(_)));
}

#[tokio::test]
async fn a_named_wait_is_handed_on_and_a_long_one_is_a_pause() {
    let (short, long) = (Duration::from_secs(9), Duration::from_hours(3));
    let port_error = async |status: StatusCode, wait, error: Error| {
        let call = Call::with_response(status, Some(wait));
        call.run(async { port_error("it failed", &error) }).await
    };
    let (limited, down) = (StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE);
    let no_document = || Error::Json(serde_json::from_str::<u8>("<html>").unwrap_err());
    for error in [no_document(), Error::Api(problem("slowDown", 429))] {
        let PortError::Transient { retry_after, .. } = port_error(limited, short, error).await
        else {
            panic!("it may pass")
        };
        assert_eq!(retry_after, Some(short));
    }
    for error in [no_document(), Error::Api(problem("rateLimited", 429))] {
        let PortError::Permanent(failure) = port_error(limited, long, error).await else {
            panic!("it is a pause")
        };
        assert_eq!((failure.class, failure.retry_after), (FailureClass::RateLimited, Some(long)));
    }
    let busy = port_error(down, long, no_document()).await;
    assert!(matches!(busy, PortError::Transient { retry_after: Some(wait), .. } if wait == long));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_problem_document_is_a_bounded_failure_with_a_reason(
        kind in "[ -~]{0,40}", detail in ".{0,2000}", name in "[ -~]{0,300}", count in 0..300_usize,
        status in 0..999_u16,
    ) {
        let one = serde_json::json!({
            "type": kind, "detail": detail, "identifier": {"type": "dns", "value": name},
        });
        let document = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status,
            "subproblems": vec![one; count],
        });
        if let Ok(problem) = serde_json::from_value::<Problem>(document) {
            let failure = failure("it failed", &problem, None);
            proptest::prop_assert!((1..=limits::DETAIL_MAX).contains(&failure.detail.len()));
            proptest::prop_assert!(failure.detail.ends_with(advice(&problem, failure.class)));
            proptest::prop_assert!(failure.names.len() <= limits::MAX_NAMES);
        }
    }
}
