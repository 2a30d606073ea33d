//! Contract of the annotations and labels on Ingresses: names, values and effects.

use ingress_acme::kubernetes::ingresses::view;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::{Manage, Selection};
use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use crate::{hold, lines};

fn key() -> IngressKey {
    IngressKey::new("web", "shop")
}

fn index(metadata: &Value, manage: Manage) -> Index {
    let mut whole = json!({"namespace": "web", "name": "shop", "uid": "u1"});
    for (name, value) in metadata.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let ingress = json!({"metadata": whole, "spec": {"rules": [{"host": "shop.example.com"}]}});
    let ingress: Ingress = serde_json::from_value(ingress).unwrap();
    let mut index = Index::new(Selection { manage, ..Selection::default() }, None);
    index.apply(view(&ingress));
    index.choose(&key(), "shop-tls");
    index
}

/// Describes the effect in the words of the documentation, which change less often than the code's.
fn effect(index: &Index) -> String {
    if let Some(why) = index.skip(&key()) {
        return if why.renews() { "no new certificate" } else { "left alone" }.to_owned();
    }
    let events = |secret: &SecretKey| {
        let desired = index.desired(secret).unwrap();
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        format!(
            "Secret {}, filled in {}, key {}, profile {}, renew {}, adopted {}, grouped {}, partial {}, problems {}",
            desired.secret,
            !desired.fill.is_empty(),
            desired.algorithm.as_str(),
            or_none(&desired.profile),
            or_none(&desired.renew),
            desired.adopt,
            desired.grouped,
            desired.partial,
            index.problems(&key()).map_or(0, |problems| problems.len()),
        )
    };
    index.secrets(&key()).iter().map(events).collect::<Vec<_>>().join("; ")
}

/// Annotations of ours and of others, with their values.
const MARKS: [(&str, &str); 27] = [
    ("ingress-acme.dev/enabled", "true"),
    ("ingress-acme.dev/enabled", "false"),
    ("ingress-acme.dev/enabled", "yes"),
    ("ingress-acme.dev/fill-tls", "true"),
    ("ingress-acme.dev/fill-tls", "false"),
    ("ingress-acme.dev/profile", "shortlived"),
    ("ingress-acme.dev/key-algorithm", "ecdsa-p256"),
    ("ingress-acme.dev/key-algorithm", "ecdsa-p384"),
    ("ingress-acme.dev/key-algorithm", "rsa-2048"),
    ("ingress-acme.dev/key-algorithm", "ed25519"),
    ("ingress-acme.dev/renew", "now"),
    ("ingress-acme.dev/group", "true"),
    ("ingress-acme.dev/partial", "true"),
    ("ingress-acme.dev/partial", "yes"),
    ("ingress-acme.dev/adopt-secret", "true"),
    ("ingress-acme.dev/adopt-secret", "now"),
    ("ingress-acme.dev/adopt-secret", "yes"),
    ("ingress-acme.dev/nothing", "true"),
    ("cert-manager.io/cluster-issuer", "x"),
    ("cert-manager.io/common-name", "x"),
    ("certmanager.k8s.io/cluster-issuer", "x"),
    ("nginx.ingress.kubernetes.io/canary", "true"),
    ("nginx.org/mergeable-ingress-type", "minion"),
    ("alb.ingress.kubernetes.io/certificate-arn", "x"),
    ("cert.gardener.cloud/purpose", "managed"),
    ("kubernetes.io/tls-acme", "true"),
    ("kubernetes.io/tls-acme", "false"),
];

#[test]
fn each_annotation_has_the_effect_of_before() {
    let none = json!({});
    let mut all = vec![
        format!("none: {}", effect(&index(&none, Manage::All))),
        format!("none, --manage annotated: {}", effect(&index(&none, Manage::Annotated))),
    ];
    for (name, value) in MARKS {
        let metadata = json!({"annotations": {name: value}});
        all.push(format!("{name}: {value}: {}", effect(&index(&metadata, Manage::All))));
        if name.ends_with("/enabled") {
            let events = effect(&index(&metadata, Manage::Annotated));
            all.push(format!("{name}: {value}, --manage annotated: {events}"));
        }
    }
    hold("annotations", &lines(all));
}

#[test]
fn each_label_has_the_effect_of_before() {
    let labels = [
        ("app.kubernetes.io/managed-by", "ingress-acme"),
        ("app.kubernetes.io/managed-by", "Helm"),
        ("acme.cert-manager.io/http01-solver", "true"),
    ];
    let line = |(name, value): (&str, &str)| {
        let metadata = json!({"labels": {name: value}});
        format!("{name}: {value}: {}", effect(&index(&metadata, Manage::All)))
    };
    hold("labels", &lines(labels.map(line)));
}
