//! The overlays in `kustomize/`, by the real kubectl: each documented command is taken by the API
//! server without a warning, under the Pod Security Standard `restricted`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use ingress_acme_control_plane::{Options, World};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::alone;
use crate::sites::PATIENCE;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Nothing is stored, and a warning of the API server is an error.
const TRIAL: [&str; 2] = ["--dry-run=server", "--warnings-as-errors"];

/// A namespace under the standard, which warns of the objects that only lead to Pods.
pub(crate) fn restricted(name: &str) -> Value {
    let standard = "pod-security.kubernetes.io";
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            format!("{standard}/enforce"): "restricted", format!("{standard}/warn"): "restricted",
        }},
    })
}

/// Runs kubectl in the root of the repository, where the commands of the documents are run.
async fn run(world: &World, args: &[&str], input: Option<&Value>) -> Output {
    let mut kubectl = world.kubectl();
    kubectl.args(args).current_dir(ROOT).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.map(Value::to_string);
    kubectl.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = kubectl.spawn().expect("kubectl starts");
    if let Some(input) = input {
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).await.expect("kubectl reads");
    }
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    ended.expect("kubectl ends").expect("its output")
}

/// Output of a command that must succeed.
pub(crate) async fn kubectl(world: &World, args: &[&str], input: Option<&Value>) -> String {
    let output = run(world, args, input).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {args:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Applies the object for a trial; `Err` has the words of kubectl.
async fn tried(world: &World, object: &Value) -> Result<(), String> {
    let args = [&["apply", "--filename=-"], &TRIAL[..]].concat();
    let output = run(world, &args, Some(object)).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(error) }
}

/// The objects of an overlay, as kubectl renders them.
pub(crate) async fn rendered(world: &World, directory: &str) -> Vec<Value> {
    let yaml = kubectl(world, &["kustomize", directory], None).await;
    serde_saphyr::from_multiple(&yaml).expect("YAML")
}

/// The Pod of a Deployment: a standard refuses Pods, and only warns of a Deployment.
fn pod(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = "trial".into();
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Commands with this beginning in a document, or in the comments of an overlay.
fn documented(page: &str, beginning: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).expect(page);
    let lines = text.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let commands = lines.filter(|line| line.starts_with(beginning));
    commands.map(|line| line.split(" #").next().unwrap_or(line).trim_end().to_owned()).collect()
}

fn overlays() -> Vec<String> {
    let found = fs::read_dir(Path::new(ROOT).join("kustomize")).expect("the overlays");
    let names = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = names.map(|name| format!("kustomize/{name}")).collect();
    all.sort();
    all
}

fn of_kind(objects: &[Value], kind: &str) -> Vec<Value> {
    objects.iter().filter(|object| object["kind"] == kind).cloned().collect()
}

#[actix::test]
async fn each_overlay_is_taken_without_a_warning_under_the_restricted_standard() {
    let _alone = alone().await;
    let both = "--service-cluster-ip-range=10.0.0.0/24,fd00:10::/112";
    let options = Options { apiserver_args: vec![both.to_owned()], ..Options::default() };
    let world = World::start_with(options).await.expect("the world starts");
    for namespace in ["web", "ingress-acme-dry-run"] {
        kubectl(&world, &["create", "--filename=-"], Some(&restricted(namespace))).await;
    }

    let all = overlays().into_iter().chain(["deploy".to_owned()]);
    let mut commands = documented("docs/operations.md", "kubectl apply -k ");
    for directory in all {
        let command = format!("kubectl apply -k {directory}");
        assert!(commands.contains(&command), "{command} is not in operations.md");
        let own = documented(&format!("{directory}/kustomization.yaml"), "kubectl apply ");
        assert!(own.contains(&command), "{own:?}");
        commands.extend(own);
    }
    assert_eq!(commands.len(), overlays().len() + 2, "base, overlays, and what OpenShift needs");
    for command in &commands {
        let words: Vec<&str> = command.split(' ').skip(1).chain(TRIAL).collect();
        kubectl(&world, &words, None).await;
    }
    for directory in overlays() {
        let objects = rendered(&world, &directory).await;
        let [deployment] = &of_kind(&objects, "Deployment")[..] else { panic!("{directory}") };
        let taken = tried(&world, &pod(deployment)).await;
        taken.unwrap_or_else(|error| panic!("the Pod of {directory}: {error}"));
    }
    a_violation_would_be_seen(&world).await;
    the_services_have_both_families(&world).await;
}

/// The trials above can fail, each by itself.
async fn a_violation_would_be_seen(world: &World) {
    let objects = rendered(world, "deploy").await;
    let mut deployment = of_kind(&objects, "Deployment").remove(0);
    deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] = false.into();
    let refused = tried(world, &pod(&deployment)).await.expect_err("it runs as any user");
    assert!(refused.contains("violates PodSecurity \"restricted:latest\""), "{refused}");
    let warned = tried(world, &deployment).await.expect_err("it is warned of");
    assert!(warned.contains("would violate PodSecurity"), "{warned}");
}

async fn the_services_have_both_families(world: &World) {
    let args = [&["apply", "-k", "kustomize/ipv6", "--output=json"], &TRIAL[..]].concat();
    let taken: Value = serde_json::from_str(&kubectl(world, &args, None).await).expect("JSON");
    let services = of_kind(taken["items"].as_array().expect("a list"), "Service");
    let families: Vec<&Value> = services.iter().map(|one| &one["spec"]["ipFamilies"]).collect();
    assert_eq!(families, [&json!(["IPv4", "IPv6"]); 2]);
}
