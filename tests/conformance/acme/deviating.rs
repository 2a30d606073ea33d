//! CAs that deviate from RFC 8555, as the issue trackers of other clients tell of them: a proxy in
//! front of Pebble, and of the simulated CA, bends the answers, one deviation at a time. Each
//! certificate costs one order all the same.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ingress_acme::acme::{Acme, InProcess, Wire};
use ingress_acme::pki::Pki;
use ingress_acme_actors::domain::certificate::{CertId, KeyAlgorithm};
use ingress_acme_actors::domain::issuance::{Methods, OrderStatus};
use ingress_acme_actors::ports::{
    CertificateAuthority, ExternalAccount, Keys, PortError, Replaces,
};
use serde_json::{Value, json};

use crate::adapter::{Memory, acme_with, count, names, on_both, settled};
use crate::client::http_client;
use crate::test_ca::TestCa;

/// An answer on its way through the proxy, with the request that it answers.
pub(crate) struct Passing {
    method: Method,
    /// Last segments of the URL: what Pebble and the simulated CA call their resources.
    pub(crate) path: String,
    /// Payload of a signed request.
    pub(crate) asked: Value,
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Passing {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Changes the object of the answer, if it is one of this kind.
    pub(crate) fn edit(&mut self, is: fn(&Value) -> bool, change: impl FnOnce(&mut Value)) {
        if let Some(mut object) = self.json().filter(|object| object.is_object() && is(object)) {
            change(&mut object);
            self.body = object.to_string().into_bytes();
        }
    }

    pub(crate) fn refuse(&mut self, status: u16, body: &Value) {
        self.status = StatusCode::from_u16(status).unwrap();
        self.body = body.to_string().into_bytes();
    }

    fn is_new_order(&self) -> bool {
        self.asked.get("identifiers").is_some() && self.status == StatusCode::CREATED
    }
}

fn is_order(object: &Value) -> bool {
    object.get("finalize").is_some()
}

fn is_authorization(object: &Value) -> bool {
    object.get("challenges").is_some()
}

fn is_challenge(object: &Value) -> bool {
    object.get("token").is_some()
}

pub(crate) fn is_directory(object: &Value) -> bool {
    object.get("newNonce").is_some()
}

fn is_problem(object: &Value) -> bool {
    object.get("detail").is_some()
}

fn upper_case(status: &mut Value) {
    if let Value::String(text) = status {
        text.make_ascii_uppercase();
    }
}

/// Cuts scheme and host off a URL.
fn relative(url: &mut Value) {
    let Some(text) = url.as_str() else { return };
    let path = text.splitn(4, '/').nth(3).unwrap_or_default();
    *url = format!("/{path}").into();
}

fn one_line_of_the_body(passing: &mut Passing, turn: impl FnOnce(Vec<&str>) -> String) {
    let text = String::from_utf8(std::mem::take(&mut passing.body)).unwrap();
    passing.body = if text.contains("BEGIN CERTIFICATE") {
        let blocks = text.split_inclusive("-----END CERTIFICATE-----\n").collect();
        turn(blocks).into_bytes()
    } else {
        text.into_bytes()
    };
}

/// Which answers are meant.
type Which = fn(&Passing) -> bool;

/// A way to bend an answer.
pub(crate) type Bend = fn(&mut Passing);

/// Each deviation with its name.
const DEVIATIONS: [(&str, Bend); 32] = [
    ("statuses in capital letters", |passing| {
        passing.edit(is_order, |order| upper_case(&mut order["status"]));
        passing.edit(is_authorization, |object| upper_case(&mut object["status"]));
        passing.edit(is_challenge, |challenge| upper_case(&mut challenge["status"]));
    }),
    ("a new order without a status", |passing| {
        if passing.is_new_order() {
            passing.edit(is_order, |order| drop(order.as_object_mut().unwrap().remove("status")));
        }
    }),
    ("relative URLs", |passing| {
        let location = passing.headers.get(LOCATION).and_then(|url| url.to_str().ok());
        if let Some(mut url) = location.map(|url| json!(url)) {
            relative(&mut url);
            passing.headers.insert(LOCATION, url.as_str().unwrap().parse().unwrap());
        }
        passing.edit(is_order, |order| {
            order["authorizations"].as_array_mut().unwrap().iter_mut().for_each(relative);
            relative(&mut order["finalize"]);
        });
        passing.edit(is_authorization, |object| {
            for challenge in object["challenges"].as_array_mut().unwrap() {
                relative(&mut challenge["url"]);
            }
        });
        passing.edit(is_directory, |directory| relative(&mut directory["newOrder"]));
    }),
    ("URLs with http", |passing| {
        let http = |url: &str| url.replacen("https://", "http://", 1);
        if let Some(url) = passing.headers.get(LOCATION) {
            let url = http(url.to_str().unwrap());
            passing.headers.insert(LOCATION, url.parse().unwrap());
        }
        let text = std::mem::take(&mut passing.body);
        passing.body = match String::from_utf8(text) {
            Ok(text) => text.replace("https://", "http://").into_bytes(),
            Err(other) => other.into_bytes(),
        };
    }),
    ("an account whose answer is empty", |passing| {
        if passing.asked.get("termsOfServiceAgreed").is_some() && passing.status.is_success() {
            passing.body.clear();
        }
    }),
    ("a new order with status 200", |passing| {
        if passing.is_new_order() {
            passing.status = StatusCode::OK;
        }
    }),
    ("a new order whose answer is empty", |passing| {
        if passing.is_new_order() {
            passing.body.clear();
        }
    }),
    ("a new order whose answer is no JSON", |passing| {
        if passing.is_new_order() {
            passing.body = b"<html>created</html>".to_vec();
        }
    }),
    ("an accepted challenge whose answer is empty", |passing| {
        passing.edit(is_challenge, |challenge| *challenge = Value::Null);
    }),
    ("an accepted challenge with an error of an attempt before", |passing| {
        passing.edit(is_challenge, |challenge| challenge["error"] = json!({"detail": "timeout"}));
    }),
    ("an accepted CSR whose answer is empty", |passing| {
        if passing.asked.get("csr").is_some() && passing.status.is_success() {
            passing.body.clear();
        }
    }),
    ("an accepted CSR with status 201 and without Location", |passing| {
        if passing.asked.get("csr").is_some() && passing.status.is_success() {
            passing.status = StatusCode::CREATED;
            passing.headers.remove(LOCATION);
        }
    }),
    ("an accepted challenge with status 202", |passing| {
        if passing.json().is_some_and(|object| is_challenge(&object)) {
            passing.status = StatusCode::ACCEPTED;
        }
    }),
    ("orders without authorizations once they are ready", |passing| {
        passing.edit(is_order, |order| {
            if ["ready", "valid"].iter().any(|status| order["status"] == *status) {
                order["authorizations"] = Value::Null;
            }
        });
    }),
    ("finished orders without the URL of finalize and of other letters", |passing| {
        passing.edit(is_order, |order| {
            if order["status"] == "valid" {
                let order = order.as_object_mut().unwrap();
                order.remove("finalize");
                let identifiers = order.remove("identifiers").unwrap();
                order.insert("identififiers".to_owned(), identifiers);
            }
        });
    }),
    ("pending orders without the URL of finalize", |passing| {
        passing.edit(is_order, |order| {
            if order["status"] == "pending" {
                order.as_object_mut().unwrap().remove("finalize");
            }
        });
    }),
    ("orders that stay pending when they are ready", |passing| {
        passing.edit(is_order, |order| {
            if order["status"] == "ready" {
                order["status"] = "pending".into();
            }
        });
    }),
    ("fields that are null or of other types", |passing| {
        passing.edit(is_order, |order| {
            (order["error"], order["profile"], order["replaces"]) =
                ("".into(), 1.into(), "".into());
        });
        passing.edit(is_authorization, |object| object["wildcard"] = "no".into());
        passing.edit(is_directory, |directory| directory["meta"]["profiles"] = json!([]));
    }),
    ("a directory without meta", |passing| {
        passing.edit(is_directory, |directory| directory["meta"] = Value::Null);
    }),
    ("challenges of ACME before RFC 8555", |passing| {
        passing.edit(is_authorization, |object| {
            for challenge in object["challenges"].as_array_mut().unwrap() {
                let url = challenge.as_object_mut().unwrap().remove("url").unwrap();
                challenge["uri"] = url;
            }
        });
    }),
    ("identifiers in capital letters", |passing| {
        passing.edit(is_authorization, |object| {
            upper_case(&mut object["identifier"]["value"]);
            object["identifier"]["type"] = "DNS".into();
        });
    }),
    ("newNonce with status 204", |passing| {
        if passing.path.contains("nonce") {
            passing.status = StatusCode::NO_CONTENT;
        }
    }),
    ("newNonce without HEAD", |passing| {
        if passing.path.contains("nonce") && passing.method == Method::HEAD {
            passing.status = StatusCode::METHOD_NOT_ALLOWED;
        }
    }),
    ("answers without a nonce", |passing| {
        if passing.method == Method::POST {
            passing.headers.remove("replay-nonce");
        }
    }),
    ("refused nonces with status 403", |passing| {
        if passing.json().is_some_and(|object| object["type"].to_string().contains("badNonce")) {
            passing.status = StatusCode::FORBIDDEN;
        }
    }),
    ("problem types of drafts", |passing| {
        passing.edit(is_problem, |problem| {
            let kind = problem["type"].as_str().unwrap_or_default();
            problem["type"] = kind.replace("urn:ietf:params:acme:", "urn:acme:").into();
        });
    }),
    ("problem documents with status 200", |passing| {
        if passing.json().is_some_and(|object| is_problem(&object)) {
            passing.edit(is_problem, |problem| problem["status"] = json!("400"));
            passing.status = StatusCode::OK;
        }
    }),
    ("Retry-After of a day", |passing| {
        passing.headers.insert(RETRY_AFTER, HeaderValue::from_static("86400"));
    }),
    ("a chain upside down", |passing| {
        one_line_of_the_body(passing, |mut blocks| {
            blocks.reverse();
            blocks.concat()
        });
    }),
    ("a chain with each certificate twice", |passing| {
        one_line_of_the_body(passing, |blocks| [blocks.concat(), blocks.concat()].concat());
    }),
    ("a chain with carriage returns and a text before it", |passing| {
        one_line_of_the_body(passing, |blocks| {
            format!("subject=CN=a\r\n{}", blocks.concat().replace('\n', "\r\n"))
        });
    }),
    ("a CA behind a proxy that knows no content types", |passing| {
        passing.headers.remove("content-type");
    }),
];

/// Way of requests to a CA whose answers are bent.
pub(crate) fn bent(
    test_ca: &TestCa<'_>,
    bend: impl Fn(&mut Passing) + Send + Sync + 'static,
) -> Wire {
    let http = http_client(&test_ca.trust(), None);
    let bend = Arc::new(bend);
    let send: InProcess = Arc::new(move |request: reqwest::Request| {
        let (http, bend) = (http.clone(), bend.clone());
        Box::pin(async move {
            let signed = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
            let signed: Value = serde_json::from_slice(signed).unwrap_or_default();
            let payload = signed["payload"].as_str().unwrap_or_default();
            let payload = BASE64URL.decode(payload).unwrap_or_default();
            let asked = serde_json::from_slice(&payload).unwrap_or_default();
            let (method, path) = (request.method().clone(), request.url().path().to_owned());
            let answer = http.execute(request).await.map_err(std::io::Error::other)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = answer.bytes().await.map_err(std::io::Error::other)?.to_vec();
            let mut passing = Passing { method, path, asked, status, headers, body };
            bend(&mut passing);
            passing.headers.remove("content-length");
            let mut answer = http::Response::new(passing.body);
            (*answer.status_mut(), *answer.headers_mut()) = (passing.status, passing.headers);
            Ok(answer.into())
        })
    });
    Wire::InProcess(send)
}

/// The adapter behind a proxy that bends.
async fn behind(
    test_ca: &TestCa<'_>,
    store: &Rc<Memory>,
    bend: impl Fn(&mut Passing) + Send + Sync + 'static,
) -> Acme {
    let wire = bent(test_ca, bend);
    let (acme, _) = acme_with(test_ca, store, |options| options.wire = wire);
    test_ca.answer(acme.prepare().await.unwrap()).await;
    acme
}

/// Issues a certificate; each call may be repeated, as the operator does, but no order.
async fn issue(acme: &Acme, hosts: &[&str], replaces: Option<Replaces<'_>>) -> String {
    let names = names(hosts);
    let order = again(async || acme.open_order(&names, None, replaces).await).await;
    let (url, mut status) = (order.url, order.status);
    if status == OrderStatus::Pending {
        status = again(async || acme.accept(&url, &Methods::new()).await).await.status;
    }
    if status != OrderStatus::Ready {
        assert!(!matches!(status, OrderStatus::Invalid(_)), "{status:?}");
        assert_eq!(settled(acme, &url).await.status, OrderStatus::Ready);
    }
    let key = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
    let csr = Pki::default().request(&names, &key).unwrap();
    let finalized = again(async || acme.finalize(&url, &csr).await).await;
    if finalized.status != OrderStatus::Valid {
        assert_eq!(settled(acme, &url).await.status, OrderStatus::Valid);
    }
    let chain = again(async || acme.download(&url).await).await;
    Pki::default().inspect(&chain, &key).unwrap().id.unwrap().as_str().to_owned()
}

/// Calls until there is no transient error. The CA refuses some good nonces.
async fn again<T>(call: impl AsyncFn() -> Result<T, PortError>) -> T {
    for _ in 0..9 {
        match call().await {
            Err(PortError::Transient { detail, .. }) => println!("again: {detail}"),
            done => return done.unwrap_or_else(|error| panic!("{error}")),
        }
    }
    panic!("the CA does not get on")
}

#[tokio::test]
async fn each_deviation_costs_one_order_and_ends_in_a_certificate() {
    on_both(async |test_ca: &TestCa<'_>| {
        for (name, bend) in DEVIATIONS {
            println!("  {name}");
            let acme = behind(test_ca, &Rc::default(), bend).await;
            let (orders, certificates) = test_ca.counts();
            issue(&acme, &["a.example.com"], None).await;
            assert_eq!(test_ca.counts(), (orders + 1, certificates + 1), "{name}");
        }
    })
    .await;
}

/// Servers of one CA lag behind each other, and some issue after they have named the certificate's
/// URL. An order that is given up for that costs another one, and a certificate.
#[tokio::test]
async fn an_object_that_the_ca_does_not_hand_out_yet_is_asked_for_again() {
    let is_chain = |passing: &Passing| passing.body.starts_with(b"-----BEGIN CERTIFICATE");
    let is_object =
        |passing: &Passing| passing.json().is_some_and(|object| is_authorization(&object));
    let malformed =
        json!({"type": "urn:ietf:params:acme:error:malformed", "detail": "Certificate not found"});
    let pending = json!({"type": "urn:ietf:params:acme:error:unauthorized", "detail": "pending"});
    let cases: [(Which, u16, &Value); 4] = [
        (is_object, 404, &malformed),
        (is_chain, 404, &malformed),
        (is_chain, 403, &pending),
        (is_chain, 404, &Value::Null),
    ];
    on_both(async |test_ca: &TestCa<'_>| {
        for (is_refused, status, problem) in cases {
            let (refused, problem) = (AtomicUsize::new(0), problem.clone());
            let lags = move |passing: &mut Passing| {
                if is_refused(passing) && refused.fetch_add(1, Ordering::Relaxed) < 2 {
                    passing.refuse(status, &problem);
                }
            };
            let acme = behind(test_ca, &Rc::default(), lags).await;
            let (orders, certificates) = test_ca.counts();
            issue(&acme, &["a.example.com"], None).await;
            assert_eq!(test_ca.counts(), (orders + 1, certificates + 1), "{status}");
        }
    })
    .await;
}

/// The operator asks again later, as after any error that may pass.
#[tokio::test]
async fn a_ca_that_takes_no_nonce_is_asked_a_few_times_and_opens_no_order() {
    on_both(async |test_ca: &TestCa<'_>| {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let takes_none = move |passing: &mut Passing| {
            if passing.asked.get("identifiers").is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
                let kind = "urn:ietf:params:acme:error:badNonce";
                passing.refuse(400, &json!({"type": kind, "detail": "not that one"}));
            }
        };
        let acme = behind(test_ca, &Rc::default(), takes_none).await;
        again(async || acme.account().await).await;
        let error = acme.open_order(&names(&["a.example.com"]), None, None).await.unwrap_err();
        assert!(matches!(error, PortError::Transient { .. }), "{error:?}");
        assert!((2..=4).contains(&asked.load(Ordering::Relaxed)), "{asked:?}");
    })
    .await;
}

/// RFC 9773 §5: a server that accepts `replaces` must show it in the order.
#[tokio::test]
async fn an_order_that_shows_no_replaces_is_used_and_no_second_one_is_opened() {
    on_both(async |test_ca: &TestCa<'_>| {
        let drop_replaces = |passing: &mut Passing| {
            passing.edit(is_order, |order| drop(order.as_object_mut().unwrap().remove("replaces")));
        };
        let acme = behind(test_ca, &Rc::default(), drop_replaces).await;
        let first = CertId::new(&issue(&acme, &["a.example.com"], None).await);
        let (orders, _) = test_ca.counts();
        let replaces = Some(Replaces { id: &first, or_without: true });
        issue(&acme, &["a.example.com"], replaces).await;
        assert_eq!(test_ca.counts().0, orders + 1);
    })
    .await;
}

#[tokio::test]
async fn renewal_information_without_retry_after_or_under_a_url_with_a_slash_is_read() {
    on_both(async |test_ca: &TestCa<'_>| {
        let bend = |passing: &mut Passing| {
            passing.edit(is_directory, |directory| {
                let url = format!("{}/", directory["renewalInfo"].as_str().unwrap());
                directory["renewalInfo"] = url.into();
            });
            passing.headers.remove(RETRY_AFTER);
        };
        let acme = behind(test_ca, &Rc::default(), bend).await;
        let id = CertId::new(&issue(&acme, &["a.example.com"], None).await);
        assert!(acme.renewal_info(&id).await.unwrap().is_some());
    })
    .await;
}

/// The text of the permanent error with which an order is refused.
async fn refusal(
    test_ca: &TestCa<'_>,
    bend: impl Fn(&mut Passing) + Send + Sync + 'static,
) -> String {
    let acme = behind(test_ca, &Rc::default(), bend).await;
    for _ in 0..9 {
        match acme.open_order(&names(&["a.example.com"]), None, None).await {
            Err(PortError::Permanent(failure)) => return failure.detail,
            Err(PortError::Transient { detail, .. }) => println!("again: {detail}"),
            Ok(order) => panic!("{order:?}"),
        }
    }
    panic!("no refusal")
}

/// Each cause is told with the advice that mends it, whatever the form of the refusal.
#[tokio::test]
async fn the_advice_is_about_the_cause() {
    on_both(async |test_ca: &TestCa<'_>| {
        let problem = |kind: &str, detail: &str| {
            json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail})
        };
        for (kind, status, advice) in [
            ("rejectedIdentifier", 403, "remove the host from the Ingress"),
            ("externalAccountRequired", 403, "--eab-secret"),
            ("invalidContact", 400, "--contact"),
            ("userActionRequired", 403, "agree to the CA's new terms"),
            ("caa", 403, "CAA record"),
            ("badPublicKey", 400, "--key-algorithm"),
            ("badCSR", 400, "--csr-common-name"),
        ] {
            let answer = problem(kind, "the CA's words");
            for status in [status, 200] {
                let answer = answer.clone();
                let said = refusal(test_ca, move |passing| {
                    if passing.is_new_order() {
                        passing.refuse(status, &answer);
                    }
                })
                .await;
                assert!(said.contains("the CA's words") && said.contains(advice), "{kind}: {said}");
            }
        }
        let said = refusal(test_ca, |passing| {
            if passing.is_new_order() {
                passing.headers.remove(LOCATION);
                passing.body.clear();
            }
        })
        .await;
        assert!(said.contains("does not tell its URL") && said.contains("use another CA"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_directory_is_told_with_the_flag_that_names_it() {
    let test_ca = TestCa::simulated();
    for (status, body, words) in [
        (
            200,
            "<html>hello</html>",
            "is no ACME directory: it has no newNonce, newAccount, newOrder; check --acme-directory",
        ),
        (200, r#"{"newNonce": "https://ca.example/n"}"#, "it has no newAccount, newOrder"),
        (404, "not found", "the CA answers HTTP 404 and does not say why; check --acme-directory"),
        (
            403,
            r#"{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "not you"}"#,
            "not you (unauthorized)",
        ),
    ] {
        let acme = behind(&test_ca, &Rc::default(), move |passing| {
            if passing.json().is_some_and(|object| is_directory(&object)) {
                passing.status = StatusCode::from_u16(status).unwrap();
                passing.body = body.as_bytes().to_vec();
            }
        })
        .await;
        let error = acme.open_order(&names(&["a.example.com"]), None, None).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(test_ca.counts().0, 0);
}

/// So do Google Trust Services and others.
#[tokio::test]
async fn contacts_come_with_the_registration_and_bad_ones_are_left_out_where_the_ca_allows_it() {
    on_both(async |test_ca: &TestCa<'_>| {
        let refuse = |passing: &mut Passing| {
            let kind = "urn:ietf:params:acme:error:invalidContact";
            passing.refuse(400, &json!({"type": kind, "detail": "a contact must be given"}));
        };
        let is_registration =
            |passing: &Passing| passing.asked.get("termsOfServiceAgreed").is_some();
        let required = move |passing: &mut Passing| {
            if is_registration(passing) && passing.asked.get("contact").is_none() {
                refuse(passing);
            }
        };
        issue(&behind(test_ca, &Rc::default(), required).await, &["a.example.com"], None).await;
        let unwanted = move |passing: &mut Passing| {
            if is_registration(passing) && passing.asked.get("contact").is_some() {
                refuse(passing);
            }
        };
        issue(&behind(test_ca, &Rc::default(), unwanted).await, &["a.example.com"], None).await;
        let never = move |passing: &mut Passing| {
            if is_registration(passing) {
                refuse(passing);
            }
        };
        let said = refusal(test_ca, never).await;
        assert!(said.contains("a contact must be given") && said.contains("--contact"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn an_account_is_looked_up_with_the_external_account_where_the_ca_requires_that() {
    let (kid, hmac) = ("kid-1".to_owned(), b"0123456789abcdef0123456789abcdef".to_vec());
    let test_ca = TestCa::simulated_with(|options| {
        options.eab = Some(("kid-1".to_owned(), b"0123456789abcdef0123456789abcdef".to_vec()));
    });
    let external = ExternalAccount { kid, hmac: hmac.into() };
    let store = Rc::new(Memory(RefCell::default(), Some(external)));
    let requires = |passing: &mut Passing| {
        let looks_up = passing.asked.get("onlyReturnExisting").is_some();
        if looks_up && passing.asked.get("externalAccountBinding").is_none() {
            let kind = "urn:ietf:params:acme:error:externalAccountRequired";
            passing.refuse(403, &json!({"type": kind, "detail": "no binding"}));
        }
    };
    issue(&behind(&test_ca, &store, requires).await, &["a.example.com"], None).await;
    let url = store.0.borrow_mut().as_mut().unwrap().url.take();
    let wire = bent(&test_ca, requires);
    let (again, requests) = acme_with(&test_ca, &store, |options| options.wire = wire);
    test_ca.answer(again.prepare().await.unwrap()).await;
    issue(&again, &["b.example.com"], None).await;
    assert_eq!((store.account().url, count(&requests, "new_account")), (url, 1));
}
