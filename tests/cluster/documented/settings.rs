//! Commands that change the operator's settings and rights, and what is installed beside it.

use ingress_acme_control_plane::eventually;
use serde_json::json;

use super::reader::{Reader, USER};
use crate::sites::{PATIENCE, secret, text};

/// Variables of the Deployment.
pub(super) async fn configured(reader: &Reader<'_>) {
    let directory = "INGRESS_ACME_ACME_DIRECTORY=";
    let (patch, set) = (
        "kubectl -n ingress-acme patch deployment ingress-acme",
        "kubectl -n ingress-acme set env deployment/ingress-acme",
    );
    let staging = "https://acme-staging-v02.api.letsencrypt.org/directory";
    reader.run(&format!("{patch} --patch-file deploy/examples/staging-patch.yaml")).await;
    assert!(reader.settings().await.contains(&format!("{directory}{staging}\n")));
    reader.run(&format!("{set} INGRESS_ACME_ACME_DIRECTORY-")).await;
    assert!(!reader.settings().await.contains(directory));
    reader.run(&format!("{set} INGRESS_ACME_REHEARSAL_DIRECTORY={staging}")).await;
    let create = "kubectl -n ingress-acme create secret generic eab";
    reader.run(&format!("{create} --from-literal=kid=KID --from-literal=hmac=HMAC")).await;
    let eab = secret(&reader.client, "ingress-acme", "eab").await.expect("the Secret");
    let account = ["kid", "hmac"].map(|key| text(&eab, key).expect("a text"));
    assert_eq!(account, ["the-kid", "the-hmac"]);
    reader.run(&format!("{set} INGRESS_ACME_EAB_SECRET=eab {directory}URL")).await;
    reader.run(&format!("{set} HTTPS_PROXY=http://proxy.example.com:3128")).await;
    reader.run(&format!("{set} INGRESS_ACME_WATCH_SECRETS=true")).await;
    let settings = reader.settings().await;
    for one in [
        &format!("INGRESS_ACME_REHEARSAL_DIRECTORY={staging}"),
        "INGRESS_ACME_EAB_SECRET=eab",
        "INGRESS_ACME_ACME_DIRECTORY=https://ca.example/directory",
        "HTTPS_PROXY=http://proxy.example.com:3128",
        "INGRESS_ACME_WATCH_SECRETS=true",
    ] {
        assert!(settings.lines().any(|line| line == one), "{one} in {settings}");
    }
    reader.run("kubectl -n ingress-acme rollout restart deployment/ingress-acme").await;
    let pods = "kubectl -n ingress-acme get deployment ingress-acme \
                -o jsonpath={.spec.template.metadata.annotations}";
    assert!(reader.shell(pods).await.contains("restartedAt"));
}

/// Rights that a file or a binding gives and takes.
pub(super) async fn given_rights(reader: &Reader<'_>) {
    let (bind, account) = ("create rolebinding", "--serviceaccount=ingress-acme:ingress-acme");
    let (list, route) = ("list secrets -n web", "create endpointslices.discovery.k8s.io -n web");
    reader.right(list, false).await;
    reader.run("kubectl apply -f deploy/watch-secrets.yaml").await;
    reader.right(list, true).await;
    let name = "ingress-acme-watch-secrets";
    reader.run(&format!("kubectl delete clusterrolebinding {name}")).await;
    reader.right(list, false).await;
    reader.run(&format!("kubectl -n web {bind} {name} --clusterrole={name} {account}")).await;
    reader.right(list, true).await;
    reader.right("list secrets -n default", false).await;

    let name = "ingress-acme-solver";
    reader.run("kubectl apply -f deploy/solver-in-namespaces.yaml").await;
    reader.right(route, false).await;
    for namespace in ["web", "NAMESPACE"] {
        let given = format!("kubectl -n {namespace} {bind} {name} --clusterrole={name} {account}");
        reader.run(&given).await;
        reader.right(route, true).await;
        reader.shell(&format!("kubectl -n web delete rolebinding {name}")).await;
    }
    reader.run("kubectl apply -f deploy/openshift.yaml").await;
    reader.right("delete secrets -n web", true).await;
    reader.run("kubectl delete -f deploy/openshift.yaml").await;
    reader.right("delete secrets -n web", false).await;

    let role = "--clusterrole=ingress-acme";
    reader.run(&format!("kubectl -n web {bind} ingress-acme {role} {account}")).await;
    reader.run(&format!("kubectl -n ingress-acme {bind} ingress-acme-own {role} {account}")).await;
    reader.run("kubectl delete clusterrolebinding ingress-acme").await;
    reader.right("get secrets -n default", false).await;
    reader.right("get secrets -n web", true).await;
    // Restores the ClusterRoleBinding, says the text.
    reader.run("kubectl apply -f deploy/install.yaml").await;
    reader.right("get secrets -n default", true).await;
}

pub(super) async fn guarded_and_beside_another(reader: &Reader<'_>) {
    reader.run("kubectl apply -f deploy/guard.yaml").await;
    let forged = format!(
        "kubectl -n web create secret generic forged --dry-run=server --as={USER} 2>&1 || true"
    );
    eventually(PATIENCE, "the guard is in force", async || {
        reader.shell(&forged).await.contains("ValidatingAdmissionPolicy").then_some(())
    })
    .await;
    reader.shell("kubectl delete -f deploy/guard.yaml").await;
    reader.run("kubectl label namespace NAME ingress-acme.dev/metrics=allowed").await;
    let labels = reader.shell("kubectl get namespace web --show-labels").await;
    assert!(labels.contains("ingress-acme.dev/metrics=allowed"), "{labels}");

    reader.shell(reader.with_text("> acme-staging.yaml")).await;
    reader.run("kubectl apply -f acme-staging.yaml").await;
    reader.shell("kubectl -n acme-staging get deployment ingress-acme").await;
}

/// With CRDs as the Prometheus Operator's, without their schema.
pub(super) async fn monitored(reader: &Reader<'_>) {
    for (kind, plural) in
        [("ServiceMonitor", "servicemonitors"), ("PrometheusRule", "prometheusrules")]
    {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = json!({
            "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        });
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
            "spec": {
                "group": "monitoring.coreos.com", "scope": "Namespaced", "versions": [version],
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            },
        });
        reader.shell(&format!("echo '{crd}' | kubectl create -f -")).await;
        let established = "kubectl wait --for=condition=Established --timeout=60s crd";
        reader.shell(&format!("{established}/{plural}.monitoring.coreos.com")).await;
    }
    let files = "-f deploy/monitoring/servicemonitor.yaml -f deploy/monitoring/prometheusrule.yaml";
    let applied = reader.run(&format!("kubectl apply {files}")).await;
    assert_eq!(applied.matches(" created").count(), 2, "{applied}");
}
