//! Converts a domain event to an Event of the API, with a name derived from its content.

use ingress_acme_actors::domain::hash::stable_hash;
use ingress_acme_actors::domain::ingress::IngressRef;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::status::kube_event::{KubeEvent, Severity};
use ingress_acme_actors::domain::status::repeats::period;
use ingress_acme_actors::domain::time::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;

/// `reportingController`: a qualified name (events.k8s.io/v1).
pub const CONTROLLER: &str = "ingress-acme.dev/ingress-acme";
/// Longest `metadata.name` (RFC 1123 subdomain).
const NAME_MAX: usize = 253;

/// Builds the Event in the Ingress's namespace, as the API server requires. The name does not
/// depend on the time, except where the state lasts: then it is another one in each period in which
/// the Event is sent again.
pub(super) fn event(about: &IngressRef, kube_event: KubeEvent, pod: &str, now: Timestamp) -> Event {
    let name = name(about, &kube_event, now);
    let (namespace, ingress) = (about.key.namespace.to_string(), about.key.name.to_string());
    let severity = match kube_event.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(
            jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default(),
        )),
        regarding: Some(ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("Ingress".to_owned()),
            name: Some(ingress),
            namespace: Some(namespace),
            uid: Some(about.uid.to_string()),
            ..ObjectReference::default()
        }),
        action: Some(kube_event.action.to_owned()),
        reason: Some(kube_event.reason.to_owned()),
        note: Some(kube_event.note),
        type_: Some(severity.to_owned()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(
            pod[..pod.floor_char_boundary(limits::REPORTING_INSTANCE)].to_owned(),
        ),
        ..Event::default()
    }
}

/// Turns an Event about an Ingress into the same one about an object of the core API with its name.
pub(super) fn of_core(event: Event, kind: &str) -> Event {
    let object = event.regarding.map(|about| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        uid: about.uid.filter(|uid| !uid.is_empty()),
        ..about
    });
    Event { regarding: object, ..event }
}

fn name(about: &IngressRef, kube_event: &KubeEvent, now: Timestamp) -> String {
    let said = (&*about.uid, kube_event.reason, kube_event.note.as_str());
    let hash = if kube_event.lasts {
        stable_hash((said, period(&about.key, now)))
    } else {
        stable_hash(said)
    };
    let suffix = format!(".{hash:016x}");
    // An Ingress's name is ASCII, so any byte is a boundary. A shortened name must not end in `.`
    // or `-`.
    let room = about.key.name.floor_char_boundary(NAME_MAX - suffix.len());
    format!("{}{suffix}", about.key.name[..room].trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::ingress::IngressKey;

    use super::*;

    fn about(name: &str) -> IngressRef {
        IngressRef { key: IngressKey::new("web", name), uid: "u1".into() }
    }

    fn says(note: &str) -> KubeEvent {
        KubeEvent {
            severity: Severity::Normal,
            reason: "Issued",
            action: "IssueCertificate",
            note: note.to_owned(),
            lasts: false,
        }
    }

    #[test]
    fn the_name_follows_from_what_is_said_and_not_from_when() {
        let at = |note, secs| {
            event(&about("shop"), says(note), "pod", Timestamp::from_secs(secs)).metadata.name
        };
        assert_eq!(at("one", 0), at("one", 60));
        assert_ne!(at("one", 0), at("two", 0));
    }

    #[test]
    fn the_name_of_an_event_that_is_sent_again_is_one_for_each_period_and_ingress() {
        let lasting = || KubeEvent { lasts: true, ..says("one") };
        let shop = about("shop");
        let names = |from: i64| -> std::collections::BTreeSet<Option<String>> {
            let times = (from..from + 3_000).step_by(100).map(Timestamp::from_secs);
            times.map(|now| event(&shop, lasting(), "pod", now).metadata.name).collect()
        };
        assert_eq!(names(0).len(), 2, "its slot is somewhere in between");
        assert_eq!(names(0).intersection(&names(3_000)).count(), 1);
        let once = event(&shop, says("one"), "pod", Timestamp::from_secs(0)).metadata.name;
        assert!(!names(0).contains(&once));
    }

    #[test]
    fn a_long_name_is_cut_to_what_the_api_server_takes() {
        let long = format!("{}.{}", "a".repeat(235), "b".repeat(17));
        let cut = name(&about(&long), &says("one"), Timestamp::from_secs(0));
        assert!(cut.len() <= NAME_MAX && cut.starts_with("aaa") && !cut.contains(".."), "{cut}");
        let pod = event(&about("shop"), says("one"), &"p".repeat(253), Timestamp::from_secs(0));
        assert_eq!(pod.reporting_instance, Some("p".repeat(limits::REPORTING_INSTANCE)));
    }
}
