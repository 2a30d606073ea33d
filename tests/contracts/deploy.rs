//! Contract of the manifests: their objects, and all names that other manifests and runbooks use.

use std::collections::BTreeSet;

use clap::CommandFactory;
use ingress_acme::commands::cli::Cli;
use serde_json::{Value, json};

use crate::{hold, lines, pretty};

fn objects(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    all.into_iter().filter(|object| !object.is_null()).collect()
}

pub(crate) fn install() -> Vec<Value> {
    objects(include_str!("../../deploy/install.yaml"))
}

fn of_kind(kind: &str) -> Vec<Value> {
    install().into_iter().filter(|object| object["kind"] == kind).collect()
}

fn line(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let (api, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (namespace, name) =
        (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    format!("{api} {kind} {namespace}/{name} labels {}", object["metadata"]["labels"])
}

#[test]
fn the_manifests_have_the_objects_of_before() {
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    let install = lines(install().iter().map(line)).replace(&version, "\"[version]\"");
    hold("install", &install);
    let guard = objects(include_str!("../../deploy/guard.yaml"));
    hold("guard", &lines(guard.iter().map(line)));
    let watch = objects(include_str!("../../deploy/watch-secrets.yaml"));
    hold("watch-secrets", &lines(watch.iter().map(line)));
    let openshift = objects(include_str!("../../deploy/openshift.yaml"));
    hold("openshift", &lines(openshift.iter().map(line)));
    let dns = [
        include_str!("../../deploy/external-dns.yaml"),
        include_str!("../../deploy/dns-webhook.yaml"),
    ];
    hold("dns", &lines(dns.iter().flat_map(|yaml| objects(yaml)).map(|object| line(&object))));
}

#[test]
fn the_operator_has_the_rights_and_the_services_of_before() {
    let rules = |kind| of_kind(kind).into_iter().map(|role| role["rules"].clone());
    let rules: Value = rules("ClusterRole").chain(rules("Role")).collect();
    hold("rights", &pretty(&rules));
    let watch = objects(include_str!("../../deploy/watch-secrets.yaml"));
    hold("rights-to-watch-secrets", &pretty(&watch[0]["rules"]));
    let openshift = objects(include_str!("../../deploy/openshift.yaml"));
    hold("rights-on-openshift", &pretty(&openshift[2]["rules"]));
    let specs: Value = of_kind("Service").iter().map(|service| service["spec"].clone()).collect();
    hold("services", &pretty(&specs));
}

/// No Role gives rights to objects of the cluster.
#[test]
fn the_role_of_one_namespace_has_the_rules_of_the_cluster_role_without_those_of_the_cluster() {
    let role = objects(include_str!("../../kustomize/one-namespace/role.yaml")).remove(0);
    let mut rules = of_kind("ClusterRole").remove(0)["rules"].clone();
    let all = rules.as_array().map(Vec::len);
    rules.as_array_mut().unwrap().retain(|rule| rule["resources"] != json!(["ingressclasses"]));
    assert_ne!(rules.as_array().map(Vec::len), all, "one is left out");
    assert_eq!(role["rules"], rules);
}

/// A variable that the operator does not read would change nothing, without a word.
#[test]
fn the_overlays_set_variables_that_the_operator_reads() {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let read = run.get_arguments().filter_map(|flag| Some(flag.get_env()?.to_str()?.to_owned()));
    let read: BTreeSet<String> = read.collect();
    let mut set = BTreeSet::new();
    for overlay in std::fs::read_dir("kustomize").unwrap() {
        let file = overlay.unwrap().path().join("kustomization.yaml");
        let text = std::fs::read_to_string(file).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        set.extend(words.filter(|word| word.starts_with("INGRESS_ACME_")).map(str::to_owned));
    }
    assert!(set.len() >= 5 && set.is_subset(&read), "{set:?} in {read:?}");
}

/// Whoever may open a connection to a port, and how many replicas stay: other manifests and the
/// firewalls of users build on both.
#[test]
fn the_ports_are_open_to_those_of_before_and_a_replica_stays() {
    let specs = |kind| of_kind(kind).into_iter().map(|object| object["spec"].clone());
    let specs: Value = specs("NetworkPolicy").chain(specs("PodDisruptionBudget")).collect();
    assert_eq!(specs.as_array().map(Vec::len), Some(2), "one of each");
    hold("network-policy", &pretty(&specs));
}

/// The policy names ports and no address, so a port that is missing here is closed everywhere.
#[test]
fn the_usual_ports_of_private_cas_and_proxies_are_open_to_the_operator() {
    let policy = of_kind("NetworkPolicy").remove(0);
    let rules = policy["spec"]["egress"].as_array().unwrap();
    let to_anywhere = rules.iter().filter(|rule| rule["to"].is_null());
    let ports = to_anywhere.flat_map(|rule| rule["ports"].as_array().unwrap());
    let open: BTreeSet<u64> = ports.filter_map(|port| port["port"].as_u64()).collect();
    for (whose, port) in [
        ("a public CA", 443),
        ("step-ca", 9000),
        ("Vault", 8200),
        ("Pebble", 14000),
        ("Squid", 3128),
    ] {
        assert!(open.contains(&port), "{whose}: {port} is not among {open:?}");
    }
}

#[test]
fn the_pod_is_started_asked_and_found_as_before() {
    let deployment = of_kind("Deployment").remove(0);
    let mut template = deployment["spec"]["template"].clone();
    let container = &mut template["spec"]["containers"][0];
    container.as_object_mut().unwrap().remove("resources");
    for place in ["/spec/containers/0/image", "/metadata/labels/app.kubernetes.io~1version"] {
        let text = template.pointer_mut(place).unwrap();
        let plain = text.as_str().unwrap().replace(env!("CARGO_PKG_VERSION"), "[version]");
        *text = plain.into();
    }
    hold("pod", &pretty(&template));
}

/// Variables in the manifest's comments count too, since the comments tell users to set them.
#[test]
fn the_environment_that_the_manifest_speaks_of_is_that_of_before() {
    let words = include_str!("../../deploy/install.yaml");
    let words = words.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let named = words.filter(|word| word.len() > 4 && word.contains('_'));
    let all: BTreeSet<String> = named.map(str::to_owned).collect();
    hold("install-environment", &lines(all));
}
