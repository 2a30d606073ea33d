//! Implements the port [`IngressClasses`]: which controller serves which class.

mod rules;

use async_trait::async_trait;
use ingress_acme_actors::domain::controllers::ClassView;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::doctor::class::Class;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{IngressClasses, PortError};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::kubernetes::client::port_error;

/// Annotation of the class of Ingresses that name none.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// The `IngressClass` objects of the cluster.
pub struct KubeIngressClasses {
    api: Api<IngressClass>,
}

impl KubeIngressClasses {
    /// Uses the cluster of `client`.
    pub fn new(client: Client) -> Self {
        Self { api: Api::all(client) }
    }
}

#[async_trait(?Send)]
impl IngressClasses for KubeIngressClasses {
    async fn list(&self) -> Result<Vec<ClassView>, PortError> {
        let first = ListParams::default().limit(limits::CLASSES_READ);
        let read = match self.api.list(&first).await {
            Ok(list) => list.items,
            Err(error) if is_without_right(&error) => Vec::new(),
            Err(error) => return Err(port_error(error, "list the IngressClasses")),
        };
        // A class of the cluster counts before one of the same name that is known without.
        Ok(read.iter().map(view).chain(rules::by_name()).collect())
    }
}

/// Whether the right is missing, as in an install for one namespace: no Role gives rights to
/// objects of the cluster. The default class is unknown then.
fn is_without_right(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn view(class: &IngressClass) -> ClassView {
    let name = class.metadata.name.clone().unwrap_or_default();
    let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
    let annotations = class.metadata.annotations.as_ref();
    let default = annotations.and_then(|annotations| annotations.get(DEFAULT_CLASS));
    ClassView {
        name: cut(name, limits::CLASS_NAME).into(),
        is_default: default.is_some_and(|value| value == "true"),
        rule: controller.and_then(rules::rule_of),
    }
}

/// A class with its controller, for `doctor`.
pub(crate) fn described(class: &IngressClass) -> Class {
    let ClassView { name, is_default, rule } = view(class);
    let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
    let controller = cut(controller.unwrap_or("without a controller"), limits::CLASS_NAME);
    Class { name: name.to_string(), controller, is_default, rule }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::client::Body;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Classes, as listed by an API server that answers with this.
    async fn listed(code: u16, answer: serde_json::Value) -> Result<Vec<ClassView>, PortError> {
        let answer = answer.to_string();
        let answers = tower::service_fn(move |_: http::Request<Body>| {
            let body = Body::from(answer.clone().into_bytes());
            let answer = http::Response::builder().status(code).body(body).unwrap();
            async { Ok::<_, Infallible>(answer) }
        });
        KubeIngressClasses::new(Client::new(answers, "web")).list().await
    }

    #[tokio::test]
    async fn without_the_right_controllers_are_known_by_names_of_classes_and_an_error_stays_one() {
        let status = |code: u16| json!({"kind": "Status", "code": code, "message": "no"});
        let known: Vec<ClassView> = rules::by_name().collect();
        assert_eq!(listed(403, status(403)).await.unwrap(), known);
        assert!(listed(500, status(500)).await.is_err());
        let class = json!({"metadata": {"name": "web"}, "spec": {"controller": "k8s.io/x"}});
        let list = json!({"kind": "IngressClassList", "metadata": {}, "items": [class]});
        let both = listed(200, list).await.unwrap();
        assert_eq!((&*both[0].name, &both[1..]), ("web", &known[..]));
    }

    fn read(class: serde_json::Value) -> ClassView {
        view(&serde_json::from_value(class).unwrap())
    }

    #[test]
    fn a_class_is_read_with_the_rule_of_its_controller_and_whether_it_is_the_default() {
        let class = |controller: &str, default: &str| {
            read(json!({
                "metadata": {"name": "web", "annotations": {DEFAULT_CLASS: default}},
                "spec": {"controller": controller},
            }))
        };
        let f5 = class("nginx.org/ingress-controller", "true");
        assert!(f5.is_default && f5.rule.is_some_and(|known| known.rule.contains("F5 NGINX")));
        let merging = class("k8s.io/ingress-nginx", "false");
        assert_eq!(merging, ClassView { name: "web".into(), is_default: false, rule: None });
    }

    #[test]
    fn a_class_without_an_object_is_known_by_its_name_alone() {
        let known: Vec<ClassView> = rules::by_name().collect();
        assert!(known.iter().any(|class| &*class.name == "gce" && class.rule.is_some()));
        assert!(known.iter().all(|class| !class.is_default));
    }

    proptest! {
        /// Anybody who may write classes decides their texts.
        #[test]
        fn any_class_is_read_within_its_bound(name in ".{0,900}", controller in ".{0,900}") {
            let found = read(json!({"metadata": {"name": name}, "spec": {"controller": controller}}));
            prop_assert!(found.name.len() <= limits::CLASS_NAME);
        }
    }
}
