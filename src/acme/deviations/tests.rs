use proptest::prelude::*;
use serde_json::json;

use super::statuses::ORDER;
use super::*;

const URL: &str = "https://ca.example/acme/order/1";

fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: body.into() }
}

/// Object of a successful answer of `endpoint`, made readable, and what deviated.
fn read(endpoint: &str, object: &Value) -> (Value, Vec<Deviation>) {
    let mut answer = answer(200, object.to_string());
    let found = read_liberally(endpoint, URL, &mut answer);
    (serde_json::from_slice(&answer.body).unwrap(), found.into_iter().collect())
}

/// Status and object of a refusal, made readable.
fn refused(status: u16, object: &Value) -> (u16, Value) {
    let mut answer = answer(status, object.to_string());
    read_liberally("new_order", URL, &mut answer);
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn an_unknown_status_means_that_the_client_waits_and_other_letters_mean_nothing() {
    for (given, means) in [(json!("on-hold"), "processing"), (json!("READY"), "ready")] {
        let given = json!({"status": given, "finalize": "https://f", "authorizations": []});
        assert_eq!(read("order", &given).0["status"], means);
    }
    let no_status = json!({"finalize": "https://f", "authorizations": []});
    assert_eq!(read("new_order", &no_status).0["status"], "pending");
    assert_eq!(read("finalize", &no_status).0["status"], "processing");
    let (read, _) = read(
        "authorization",
        &json!({"status": "processing", "identifier": {"type": "DNS", "value": "a"}, "challenges": [
            {"type": "HTTP-01", "status": "queued", "url": "https://u", "token": "t"},
            {"type": "http-01", "url": "https://u", "token": "t"},
            {"type": "dns-persist-01", "status": "pending"},
            {"type": "dns-persist-02", "status": "queued", "url": "https://u"},
        ]}),
    );
    assert_eq!(
        read,
        json!({"status": "pending", "identifier": {"type": "dns", "value": "a"}, "challenges": [
            {"type": "http-01", "status": "processing", "url": "https://u", "token": "t"},
            {"type": "http-01", "status": "pending", "url": "https://u", "token": "t"},
            {"type": "dns-persist-02", "status": "processing", "url": "https://u"},
        ]})
    );
}

#[test]
fn an_http_challenge_that_cannot_be_read_stays_so_that_the_error_is_told() {
    let broken =
        json!({"status": "pending", "challenges": [{"type": "http-01", "status": "pending"}]});
    assert_eq!(read("authorization", &broken), (broken, vec![]));
}

#[test]
fn an_answer_as_rfc_8555_says_keeps_every_byte() {
    for status in ORDER {
        let order = format!(
            r#"{{ "status" : "{status}", "authorizations":["https://a"], "finalize":"https://f", "error": null }}"#
        );
        let mut answer = answer(200, order.clone());
        assert!(read_liberally("order", URL, &mut answer).is_empty());
        assert_eq!(answer.body, order.as_bytes());
    }
    let odd = json!({"status": "odd"});
    for endpoint in ["new_account", "certificate", "other", "key_change"] {
        assert_eq!(read(endpoint, &odd), (odd.clone(), vec![]));
    }
    let problem = json!({"type": "urn:ietf:params:acme:error:caa", "detail": "no", "status": 403,
        "subproblems": [{"identifier": {"type": "dns", "value": "a"}}]});
    assert_eq!(refused(403, &problem), (403, problem));
}

#[test]
fn urls_are_made_absolute_and_missing_fields_are_added() {
    let order = json!({"status": "valid", "certificate": "../cert/7", "authorizations": ["/a", 5],
        "error": "none", "replaces": "x", "profile": 1});
    let expected = json!({"status": "valid", "certificate": "https://ca.example/acme/cert/7",
        "authorizations": ["https://ca.example/a"], "finalize": ""});
    assert_eq!(read("order", &order).0, expected);
    let mut answer = answer(201, r#"{"status":"pending","authorizations":["/a"],"finalize":"/f"}"#);
    answer.headers.insert(LOCATION, HeaderValue::from_static("/acme/order/9"));
    let found = read_liberally("new_order", "https://ca.example/new", &mut answer);
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        ["names relative URLs, or its own with http"]
    );
    assert_eq!(answer.headers[LOCATION], "https://ca.example/acme/order/9");
    let order: Value = serde_json::from_slice(&answer.body).unwrap();
    let [authorization, finalize] = [&order["authorizations"][0], &order["finalize"]];
    assert_eq!(
        (authorization, finalize),
        (&json!("https://ca.example/a"), &json!("https://ca.example/f"))
    );
    let (challenge, _) =
        read("challenge", &json!({"type": "http-01", "status": "pending", "uri": "/c"}));
    assert_eq!(challenge["url"], "https://ca.example/c");
}

#[test]
fn http_on_the_server_of_the_ca_is_made_https_and_on_another_one_is_left() {
    for (given, kept) in [
        ("http://ca.example/a", "https://ca.example/a"),
        ("http://ca.example:80/a", "http://ca.example:80/a"),
        ("http://ca.example.org/a", "http://ca.example.org/a"),
        ("http://other.example/a", "http://other.example/a"),
    ] {
        let order = json!({"status": "ready", "authorizations": [given], "finalize": "https://ca.example/f"});
        let (read, found) = read("order", &order);
        assert_eq!(read["authorizations"][0], kept);
        assert_eq!(found.is_empty(), given == kept);
    }
}

#[test]
fn a_directory_keeps_what_can_be_read_of_it() {
    let (directory, found) = read(
        "directory",
        &json!({"newNonce": "/n", "newAccount": "https://a", "newOrder": "https://o",
            "keyChange": false, "renewalInfo": "https://r/ari/",
            "meta": {"profiles": {"classic": {"text": "x"}, "short": "y"}}}),
    );
    let expected = json!({"newNonce": "https://ca.example/n", "newAccount": "https://a",
        "newOrder": "https://o", "renewalInfo": "https://r/ari",
        "meta": {"profiles": {"classic": "", "short": "y"}}});
    assert_eq!(directory, expected);
    assert_eq!(found.len(), 3);
    assert!(lacking(directory.to_string().as_bytes()).is_empty());
    assert_eq!(lacking(br#"{"newNonce": "https://n", "newOrder": 5}"#), ["newAccount", "newOrder"]);
    assert_eq!(lacking(b"<html>").len(), 3);
    assert_eq!(read("directory", &json!({"meta": []})).0, json!({}));
}

#[test]
fn a_problem_is_read_whatever_its_status_and_the_types_of_its_fields() {
    let draft = json!({"type": "urn:acme:error:rateLimited", "detail": "wait", "status": "429"});
    let read =
        json!({"type": "urn:ietf:params:acme:error:rateLimited", "detail": "wait", "status": 429});
    assert_eq!(refused(200, &draft), (429, read.clone()));
    assert_eq!(refused(403, &draft), (403, read));
    let nonce = json!({"type": "urn:ietf:params:acme:error:badNonce", "detail": "again"});
    assert_eq!(refused(403, &nonce), (400, nonce.clone()));
    for (given, text) in [
        (json!({"error": {"code": 403, "message": "no quota"}}), "no quota"),
        (json!({"title": "Forbidden", "detail": null}), "Forbidden"),
        (json!({"detail": ["a", "b"]}), r#"["a","b"]"#),
    ] {
        assert_eq!(refused(403, &given).1["detail"], text);
    }
    let odd = json!({"type": 5, "detail": "no", "status": {}, "subproblems": [
        {"detail": "x", "identifier": {"type": "email", "value": "a@b"}}, "text"]});
    let read = json!({"detail": "no", "subproblems": [{"detail": "x"}, {}]});
    assert_eq!(refused(403, &odd).1, read);
    assert!(serde_json::from_value::<instant_acme::Problem>(read).is_ok());
    let subproblems = json!({"detail": "no", "subproblems": null});
    assert_eq!(refused(403, &subproblems).1, json!({"detail": "no"}));
}

#[test]
fn a_certificate_in_der_is_made_pem_and_pem_stays() {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    let made = made.self_signed(&key).unwrap();
    let mut der = answer(200, made.der().to_vec());
    assert_eq!(read_liberally("certificate", URL, &mut der).len(), 1);
    let pem = made.pem().replace('\r', "");
    assert_eq!(der.body, pem.as_bytes());
    assert!(read_liberally("certificate", URL, &mut der).is_empty());
}

#[test]
fn a_directory_is_redirected_over_tls_alone_and_nothing_else_is() {
    let mut to = answer(301, "");
    to.headers.insert(LOCATION, HeaderValue::from_static("/acme/directory"));
    let next = redirected("directory", "https://ca.example/dir", &to);
    assert_eq!(next.unwrap(), "https://ca.example/acme/directory");
    assert_eq!(redirected("new_nonce", "https://ca.example/dir", &to), None);
    to.headers.insert(LOCATION, HeaderValue::from_static("http://ca.example/directory"));
    assert_eq!(redirected("directory", "https://ca.example/dir", &to), None);
    for (status, method) in [(405, Some(Method::GET)), (200, None), (503, None)] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(other_nonce_method("new_nonce", status), method);
        assert_eq!(other_nonce_method("order", status), None);
    }
}

proptest! {
    #[test]
    fn any_body_gives_one_that_is_not_much_longer(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "\\{(\"(status|type|detail|authorizations|challenges|error|meta|identifier)\":(\"[a-zA-Z:/]{0,9}\"|[0-9]{1,5}|\\[\\]|null|\\{\\}),?){0,5}\\}"
                .prop_map(String::into_bytes),
        ],
        status in 100_u16..600,
    ) {
        for endpoint in ["directory", "new_nonce", "new_order", "order", "authorization", "challenge", "certificate", "renewal_info"] {
            let mut answer = answer(status, body.clone());
            let found = read_liberally(endpoint, URL, &mut answer);
            prop_assert!(answer.body.len() <= 6 * body.len() + 200);
            prop_assert!(!found.is_empty() || answer.body == body);
        }
    }
}
