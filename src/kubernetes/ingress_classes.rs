//! Implements the port [`IngressClasses`]: which controller serves which class.

mod rules;

use async_trait::async_trait;
use ingress_acme_actors::domain::controllers::ClassView;
use ingress_acme_actors::domain::cut::cut;
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
        let list = self.api.list(&first).await;
        let list = list.map_err(|error| port_error(error, "list the IngressClasses"))?;
        // A class of the cluster counts before one of the same name that is known without.
        Ok(list.items.iter().map(view).chain(rules::by_name()).collect())
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
