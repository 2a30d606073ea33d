//! Implements the port [`IngressClasses`]: which controller serves which class.

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
        Ok(list.items.iter().map(view).collect())
    }
}

fn view(class: &IngressClass) -> ClassView {
    let text = |text: Option<&String>| {
        let text = text.map_or("", String::as_str);
        cut(text.to_owned(), limits::CLASS_NAME).into()
    };
    let annotations = class.metadata.annotations.as_ref();
    let default = annotations.and_then(|annotations| annotations.get(DEFAULT_CLASS));
    ClassView {
        name: text(class.metadata.name.as_ref()),
        controller: text(class.spec.as_ref().and_then(|spec| spec.controller.as_ref())),
        is_default: default.is_some_and(|value| value == "true"),
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
    fn a_class_is_read_with_its_controller_and_whether_it_is_the_default() {
        let class = |value: &str| {
            read(json!({
                "metadata": {"name": "web", "annotations": {DEFAULT_CLASS: value}},
                "spec": {"controller": "nginx.org/ingress-controller"},
            }))
        };
        let (name, controller) = ("web".into(), "nginx.org/ingress-controller".into());
        assert_eq!(class("true"), ClassView { name, controller, is_default: true });
        assert!(!class("false").is_default);
    }

    proptest! {
        /// Anybody who may write classes decides their texts.
        #[test]
        fn any_class_is_read_within_its_bound(name in ".{0,900}", controller in ".{0,900}") {
            let found = read(json!({"metadata": {"name": name}, "spec": {"controller": controller}}));
            prop_assert!(found.name.len().max(found.controller.len()) <= limits::CLASS_NAME);
        }
    }
}
