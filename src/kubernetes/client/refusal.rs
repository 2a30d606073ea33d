//! Classifies errors of the API server: retry, or give up and inform the user.

use std::error::Error;
use std::time::Duration;

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::PortError;
use kube::core::Status;

/// Converts `error` to a port error with the API server's own message. `doing` names the failed
/// action ("read Secret web/shop").
pub fn port_error(error: kube::Error, doing: &str) -> PortError {
    match error {
        kube::Error::Api(status) if is_transient(&status) => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            let named = Duration::from_secs(u64::from(seconds));
            let retry_after = Some(named.min(limits::API_RETRY_AFTER_MAX));
            let detail = format!("could not {doing}: {}", words(&status));
            PortError::transient_until(detail, retry_after.filter(|pause| !pause.is_zero()))
        }
        kube::Error::Api(status) => PortError::permanent(
            FailureClass::SecretWrite,
            format!("could not {doing}: {}; {}", words(&status), advice(&status)),
        ),
        kube::Error::BuildRequest(error) => PortError::permanent(
            FailureClass::SecretWrite,
            format!("could not {doing}: {}", detail(&error)),
        ),
        other => PortError::transient(format!("could not {doing}: {}", detail(&other))),
    }
}

/// Returns the text of an error followed by its causes, each included once; at most
/// [`limits::QUOTED_MAX`] bytes.
pub fn detail(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    cut(text, limits::QUOTED_MAX)
}

/// Whether the error is transient. Includes 401, since the token is reloaded every minute, and 410,
/// the answer to an outdated list.
fn is_transient(status: &Status) -> bool {
    matches!(status.code, 0 | 401 | 408 | 409 | 410 | 429 | 500..)
}

/// The API server's message. An admission webhook may put a page of output into it, and the message
/// may be given to every certificate whose routes were in the refused request.
fn words(status: &Status) -> String {
    match status.message.trim() {
        "" => {
            let reason = cut(status.reason.as_str(), limits::QUOTED_MAX);
            format!("the API server answered {} {reason}", status.code)
        }
        message => cut(message, limits::QUOTED_MAX),
    }
}

/// Whether the admission plugin `OwnerReferencesPermissionEnforcement` refuses a change of owner
/// references. It asks for the right to delete the object; references of a new object need none.
pub fn refuses_owners(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && is_about_owners(status))
}

fn is_about_owners(status: &Status) -> bool {
    status.message.contains("cannot set an ownerRef on a resource you can't delete")
}

fn advice(status: &Status) -> &'static str {
    let has_cause = |reason: &str| {
        let details = status.details.iter();
        details.flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
    };
    match status.code {
        403 if has_cause("NamespaceTerminating") => {
            "the namespace is being deleted, so there is nothing to do"
        }
        403 if status.message.contains("exceeded quota") => {
            "raise the ResourceQuota of the namespace or delete unused objects"
        }
        403 if is_about_owners(status) => {
            "this cluster lets only those change the owners of a Secret who may delete it \
             (OwnerReferencesPermissionEnforcement, as on OpenShift). So the Secret is deleted with the Ingresses that own \
             it now, and Ingresses that share it get a new certificate then; renewals go on. Apply deploy/openshift.yaml, or \
             run with --owner-references false"
        }
        403 if status.message.contains("cannot") => {
            "apply deploy/install.yaml again, because its RBAC rules allow it"
        }
        403 => {
            "an admission rule of the cluster refuses it: change the rule or exempt ingress-acme"
        }
        404 => "it, or its namespace, is gone",
        413 => "it is too large for the API server",
        _ => "the API server will refuse it again: change the fields that it names",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Secret;
    use kube::client::Body;
    use kube::core::response::{StatusCause, StatusDetails};
    use kube::{Api, Client};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn refused(code: u16, message: &str, details: Option<StatusDetails>) -> PortError {
        let status = Status { details, ..Status::failure(message, "") }.with_code(code);
        port_error(kube::Error::Api(status.boxed()), "write Secret web/shop")
    }

    fn details(retry_after_seconds: u32, cause: &str) -> StatusDetails {
        let cause =
            StatusCause { reason: cause.into(), message: String::new(), field: String::new() };
        StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds,
        }
    }

    #[test]
    fn a_busy_server_and_a_conflict_of_versions_pass() {
        for code in [401, 408, 409, 410, 429, 500, 503, 504] {
            let error = refused(code, "not now", None);
            assert!(matches!(error, PortError::Transient { retry_after: None, .. }), "{code}");
        }
        let PortError::Transient { retry_after, detail } =
            refused(429, "busy", Some(details(7, "")))
        else {
            panic!("429 passes")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
        let webhook = refused(429, "in a century", Some(details(u32::MAX, "")));
        let PortError::Transient { retry_after, .. } = webhook else { panic!("429 passes") };
        assert_eq!(retry_after, Some(limits::API_RETRY_AFTER_MAX));
        assert_eq!(detail, "could not write Secret web/shop: busy");
    }

    #[test]
    fn a_refusal_lasts_and_says_what_the_user_can_do() {
        let text = |error: PortError| match error {
            PortError::Permanent(failure) if failure.class == FailureClass::SecretWrite => {
                failure.detail
            }
            other => panic!("{other:?}"),
        };
        let terminating = refused(403, "it ends", Some(details(0, "NamespaceTerminating")));
        assert!(text(terminating).contains("being deleted"));
        assert!(text(refused(403, "exceeded quota: few", None)).contains("ResourceQuota"));
        assert!(text(refused(403, "user cannot patch", None)).contains("install.yaml"));
        assert!(text(refused(403, "denied by policy", None)).contains("admission"));
        assert!(text(refused(404, "namespaces \"x\" not found", None)).contains("gone"));
        assert!(text(refused(422, "invalid", None)).contains("refuse it again"));
    }

    #[test]
    fn a_webhooks_page_of_output_is_cut_and_the_advice_after_it_stays() {
        for code in [400, 500] {
            let text = refused(code, &"<p>denied</p>\n".repeat(50_000), None).to_string();
            assert!(text.len() <= limits::DETAIL_MAX, "{}", text.len());
            assert!(text.contains("(cut: ") && !text.contains('\n'), "{text}");
            assert_eq!(text.contains("refuse it again"), code == 400, "{text}");
        }
    }

    #[test]
    fn a_broken_connection_passes_with_all_its_causes() {
        let cause = std::io::Error::other("connection reset by peer");
        let error = port_error(kube::Error::Service(cause.into()), "read Secret web/shop");
        assert!(matches!(error, PortError::Transient { .. }));
        assert!(error.to_string().contains("connection reset by peer"));
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            2 => Just(String::new()), 6 => ".{0,60}", 1 => Just("exceeded quota \n".repeat(20_000)),
            1 => Just("x".repeat(300_000)),
        ]
    }

    /// A Status (meta/v1), with the fields that a webhook chooses; or another body.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let cause = (text(), text()).prop_map(
            |(reason, message)| json!({"reason": reason, "message": message, "field": "x"}),
        );
        let details = (any::<u32>(), prop::collection::vec(cause, 0..5))
            .prop_map(|(seconds, causes)| json!({"retryAfterSeconds": seconds, "causes": causes}));
        let odd = prop_oneof![any::<i64>().prop_map(Value::from), text().prop_map(Value::from)];
        let details = prop_oneof![6 => details, 1 => Just(Value::Null), 1 => odd];
        let status = (text(), text(), any::<u16>(), details).prop_map(
            |(message, reason, code, details)| {
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
                       "reason": reason, "code": code, "details": details})
                .to_string()
                .into_bytes()
            },
        );
        let other = text().prop_map(String::into_bytes);
        prop_oneof![6 => status, 1 => other, 1 => prop::collection::vec(any::<u8>(), 0..300)]
    }

    /// The error that a read of a Secret ends with, if the API server answers this.
    fn error_of(code: u16, body: Vec<u8>) -> Option<PortError> {
        let server = tower::service_fn(move |_: Request<Body>| {
            let answer = Response::builder().status(code).body(Body::from(body.clone())).unwrap();
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(async {
            let secrets: Api<Secret> = Api::namespaced(Client::new(server, "web"), "web");
            secrets.get_opt("shop").await
        });
        read.err().map(|error| port_error(error, "read Secret web/shop"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_answer_of_the_api_server_is_an_object_or_a_bounded_error(
            code in prop_oneof![Just(200_u16), 400..600_u16], body in body(),
        ) {
            let Some(error) = error_of(code, body) else { return Ok(()) };
            let text = error.to_string();
            prop_assert!(text.starts_with("could not read Secret web/shop: "), "{}", text);
            prop_assert!(text.len() <= limits::DETAIL_MAX, "{}", text.len());
            prop_assert!(!text.chars().any(char::is_control), "{}", text);
            match error {
                PortError::Transient { retry_after, .. } => {
                    prop_assert!(retry_after.is_none_or(|pause| pause <= limits::API_RETRY_AFTER_MAX));
                }
                PortError::Permanent(failure) => {
                    let advice = failure.detail.rsplit("; ").next().unwrap_or_default();
                    prop_assert!(!advice.is_empty() && !advice.contains("(cut: "), "{}", text);
                }
            }
        }
    }
}
