//! Deployments of the operator, and the flags that they run with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::{OsStr, Resettable};
use clap::{Command as Program, CommandFactory, FromArgMatches};
use ingress_acme_actors::domain::cas::Cas;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::doctor::Fact;
use ingress_acme_actors::domain::doctor::ca::Proxies;
use ingress_acme_actors::domain::doctor::install::{self, Flags};
use ingress_acme_actors::domain::doctor::installs::Serves;
use ingress_acme_actors::domain::limits;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ApiResource, ListParams};
use kube::core::Object;
use serde::Deserialize;

use super::cluster::Cluster;
use crate::acme::proxy::proxy_of;
use crate::commands::cli::{Cli, Command, DoctorArgs, ManageArg, RunArgs};
use crate::process::cas_file;

/// Label of our Deployment and of its pods.
const LABEL: (&str, &str) = ("app.kubernetes.io/name", "ingress-acme");
/// `ServiceAccount` of `deploy/install.yaml`.
const ACCOUNT: &str = "ingress-acme";

/// A Deployment as far as it is read: the types of a whole pod would be 0.6 MB of the program.
type DeploymentView = Object<SpecView, StatusView>;

/// `spec` of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SpecView {
    replicas: Option<i32>,
    template: TemplateView,
}

/// `spec.template` of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateView {
    metadata: ObjectMeta,
    spec: PodView,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodView {
    containers: Vec<Container>,
    service_account_name: Option<String>,
}

/// `status` of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StatusView {
    ready_replicas: Option<i32>,
}

/// Deployments with our label.
pub(super) struct Deployments {
    /// Those in the operator's namespace.
    pub(super) own: Fact<Vec<Deployed>>,
    /// Those in other namespaces.
    pub(super) others: Fact<Vec<Deployed>>,
}

/// A Deployment of the operator.
pub(super) struct Deployed {
    pub(super) facts: install::Deployment,
    /// Its `ServiceAccount`.
    account: String,
    /// Labels of its pods.
    labels: BTreeMap<String, String>,
    /// Ports of its container by name.
    ports: BTreeMap<String, u16>,
    /// Environment of its container, without values from elsewhere.
    variables: BTreeMap<String, String>,
    pub(super) flags: Fact<RunFlags>,
}

/// Flags of a Deployment.
pub(super) struct RunFlags {
    args: RunArgs,
    /// The words that they were parsed from.
    given: Vec<String>,
    pub(super) shown: Flags,
}

impl Deployments {
    /// Lists those of the cluster, or of the operator's namespace if the user may list no others.
    pub(super) async fn read(cluster: &Cluster) -> Self {
        let ours = ListParams::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        let ours = ours.limit(limits::DOCTOR_LISTED);
        let (client, kind) = (cluster.client.clone(), ApiResource::erase::<Deployment>(&()));
        let everywhere: Api<DeploymentView> = Api::all_with(client.clone(), &kind);
        let in_own: Api<DeploymentView> = Api::namespaced_with(client, &cluster.own, &kind);
        let (own, others) = match cluster.ask(everywhere.list(&ours)).await {
            Ok(all) => {
                let is_own =
                    |one: &DeploymentView| one.metadata.namespace.as_ref() == Some(&cluster.own);
                let (own, others) = all.items.into_iter().partition(is_own);
                (Ok(own), Ok(others))
            }
            Err(why) => (cluster.ask(in_own.list(&ours)).await.map(|list| list.items), Err(why)),
        };
        let read = |all: Vec<DeploymentView>| all.iter().map(Deployed::of).collect();
        Self { own: own.map(read), others: others.map(read) }
    }

    /// Those of the operator's namespace, for the rules.
    pub(super) fn facts(&self) -> Fact<Vec<install::Deployment>> {
        let own = self.own.as_ref().map_err(Clone::clone)?;
        Ok(own.iter().map(|one| one.facts.clone()).collect())
    }
}

impl Deployed {
    fn of(deployment: &DeploymentView) -> Self {
        let metadata = &deployment.metadata;
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let spec = deployment.spec.clone();
        let status = deployment.status.clone().unwrap_or_default();
        let pod = spec.template.spec;
        let labels = spec.template.metadata.labels.unwrap_or_default();
        let runs =
            |one: &&Container| one.args.iter().flatten().next().is_some_and(|arg| arg == "run");
        let container = pod.containers.iter().find(runs).or(pod.containers.first());
        let container = container.cloned().unwrap_or_default();
        let ports = container.ports.iter().flatten().filter_map(|port| {
            Some((port.name.clone()?, u16::try_from(port.container_port).ok()?))
        });
        let name = metadata.name.clone().unwrap_or_default();
        Self {
            facts: install::Deployment {
                name: format!("{namespace}/{name}"),
                image: container.image.clone().unwrap_or_default(),
                wanted: spec.replicas.unwrap_or(1),
                ready: status.ready_replicas.unwrap_or_default(),
            },
            account: pod.service_account_name.unwrap_or_else(|| "default".to_owned()),
            labels,
            ports: ports.collect(),
            variables: literals(&container).collect(),
            flags: run_flags(&container, &namespace),
        }
    }

    /// Ingresses that it serves; `None` if its flags cannot be read.
    pub(super) fn serves(&self) -> Option<Serves> {
        self.flags.as_ref().ok().map(|flags| serves(&flags.args))
    }
}

fn serves(args: &RunArgs) -> Serves {
    Serves {
        namespaces: args.serving.watch_namespace.iter().cloned().collect(),
        classes: args.serving.ingress_class.iter().cloned().collect(),
        annotated: matches!(args.serving.manage, ManageArg::Annotated),
    }
}

/// Variables with a value of their own.
fn literals(container: &Container) -> impl Iterator<Item = (String, String)> {
    let own = |one: &EnvVar| Some((one.name.clone(), one.value.clone()?));
    container.env.iter().flatten().filter_map(own)
}

/// `run` without the environment of this process, which is not that of the operator.
fn program() -> Program {
    let bare = |run: Program| run.mut_args(|arg| arg.env(Resettable::<OsStr>::Reset));
    Cli::command().mut_subcommand("run", bare)
}

/// Reads the flags of a container: those of `args`, and those of the environment.
fn run_flags(container: &Container, namespace: &str) -> Fact<RunFlags> {
    let mut given = container.args.clone().unwrap_or_default();
    let is_given = |long: &str, given: &[String]| {
        let flag = format!("--{long}");
        given.iter().any(|arg| {
            arg.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    let (known, variables) = (Cli::command(), literals(container).collect::<BTreeMap<_, _>>());
    let run = known.find_subcommand("run").into_iter().flat_map(Program::get_arguments);
    for (long, variable) in run.filter_map(|arg| Some((arg.get_long()?, arg.get_env()?))) {
        let value = variable.to_str().and_then(|name| variables.get(name));
        if let Some(value) = value.filter(|_| !is_given(long, &given)) {
            given.push(format!("--{long}={value}"));
        }
    }
    let set = given.iter().skip(1).map(|one| cut(one, limits::QUOTED_MAX)).collect();
    if !is_given("namespace", &given) {
        given.push(format!("--namespace={namespace}"));
    }
    let args = parsed(given.clone())?;
    let directory = args.serving.acme_directory.to_string();
    let shown = Flags { directory, set, unread: unread(container) };
    Ok(RunFlags { args, given, shown })
}

fn parsed(given: Vec<String>) -> Fact<RunArgs> {
    let not_run = || Err("its args do not begin with `run`".to_owned());
    if given.first().is_none_or(|first| first != "run") {
        return not_run();
    }
    let words = |error: clap::Error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        cut(first, limits::QUOTED_MAX)
    };
    let argv = std::iter::once("ingress-acme".to_owned()).chain(given);
    let matches = program().try_get_matches_from(argv).map_err(words)?;
    match Cli::from_arg_matches(&matches).map_err(words)?.command {
        Command::Run(args) => Ok(*args),
        _ => not_run(),
    }
}

/// Sources of flags that are other objects.
fn unread(container: &Container) -> Vec<String> {
    let of_ours = |one: &&EnvVar| one.name.starts_with("INGRESS_ACME_") && one.value_from.is_some();
    let variables = container.env.iter().flatten().filter(of_ours).map(|one| one.name.clone());
    let whole = container.env_from.iter().flatten().filter_map(|from| {
        let map = from.config_map_ref.as_ref().map(|map| format!("ConfigMap {}", map.name));
        map.or_else(|| from.secret_ref.as_ref().map(|secret| format!("Secret {}", secret.name)))
    });
    variables.chain(whole).map(|one| cut(one, limits::QUOTED_MAX)).collect()
}

/// The settings that the checks go by: the flags of this command, else those of the Deployment.
pub(super) struct Setup {
    /// Flags of the operator; the defaults without a Deployment that can be read.
    pub(super) flags: RunArgs,
    /// URL of the directory of the first CA; nothing where a file names it that cannot be read.
    pub(super) directory: String,
    /// The CAs of `--cas-file`, where there is one.
    pub(super) cas: Option<Fact<Cas>>,
    pub(super) acme_ca_file: Option<PathBuf>,
    pub(super) nameserver: Option<std::net::SocketAddr>,
    pub(super) probe_port: u16,
    /// Name of the `ServiceAccount`.
    pub(super) account: String,
    /// Labels of the pods.
    pub(super) labels: BTreeMap<String, String>,
    /// Ports of the pods by name.
    pub(super) ports: BTreeMap<String, u16>,
    /// Environment of the operator; `None` without a Deployment that can be read.
    variables: Option<BTreeMap<String, String>>,
}

impl Setup {
    pub(super) fn of(args: &DoctorArgs, deployed: Option<&Deployed>) -> Self {
        let given = deployed.and_then(|one| one.flags.as_ref().ok());
        let given = given.map_or_else(|| vec!["run".to_owned()], |flags| flags.given.clone());
        let mut flags = parsed(given).expect("no flag is required, and these were parsed before");
        if let Some(url) = &args.acme_directory {
            flags.serving.acme_directory = url.clone();
        }
        if args.cas_file.is_some() || args.acme_directory.is_some() {
            flags.serving.cas_file.clone_from(&args.cas_file);
        }
        let cas = flags.serving.cas_file.as_deref().map(read_cas);
        let directory = match &cas {
            Some(cas) => cas.as_ref().map(|cas| cas.first.directory.clone()).unwrap_or_default(),
            None => flags.serving.acme_directory.to_string(),
        };
        // In the pod itself, the file of the operator is there.
        let in_pod = flags.acme_ca_file.clone().filter(|file| file.exists());
        let labels = || BTreeMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]);
        Self {
            directory,
            cas,
            acme_ca_file: args.acme_ca_file.clone().or(in_pod),
            nameserver: args.nameserver,
            probe_port: args.probe_port.unwrap_or(flags.probe_port),
            account: deployed.map_or_else(|| ACCOUNT.to_owned(), |one| one.account.clone()),
            labels: deployed.map_or_else(labels, |one| one.labels.clone()),
            ports: deployed.map(|one| one.ports.clone()).unwrap_or_default(),
            variables: deployed.map(|one| one.variables.clone()),
            flags,
        }
    }

    /// Ingresses that the operator serves.
    pub(super) fn serves(&self) -> Serves {
        serves(&self.flags)
    }

    /// URLs of all directories.
    pub(super) fn directories(&self) -> Vec<String> {
        if let Some(cas) = &self.cas {
            let all = cas.iter().flat_map(Cas::all);
            return all.map(|ca| ca.directory.clone()).collect();
        }
        let further = [&self.flags.fallback_directory, &self.flags.rehearsal_directory];
        let further = further.into_iter().flatten().map(ToString::to_string);
        std::iter::once(self.directory.clone()).chain(further).collect()
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.as_ref()?.get(name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn proxy(&self, directory: &str) -> Option<(String, u16)> {
        proxy_of(directory, |name| self.variable(name))
    }

    /// Ports of the way to the CAs.
    pub(super) fn ca_ports(&self) -> Vec<u16> {
        let port = |directory: String| {
            let own = || url::Url::parse(&directory).ok()?.port_or_known_default();
            self.proxy(&directory).map(|(_, port)| port).or_else(own)
        };
        let mut ports: Vec<u16> = self.directories().into_iter().filter_map(port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The proxies of the Deployment.
    pub(super) fn proxies(&self) -> Fact<Proxies> {
        if self.variables.is_none() {
            return Err("no Deployment can be read, whose environment would name them".to_owned());
        }
        let set = |names: [&str; 2]| names.into_iter().any(|name| self.variable(name).is_some());
        let through = self.directories().into_iter().filter(|one| self.proxy(one).is_some());
        let without_exceptions =
            |name: &str| self.variable(name).filter(|_| !name.eq_ignore_ascii_case("no_proxy"));
        let proxy = proxy_of(&self.directory, without_exceptions);
        let proxy = proxy.map(|(host, port)| format!("{host}:{port}")).ok_or("no URL".to_owned());
        let is_set = set(["HTTPS_PROXY", "https_proxy"]) || set(["ALL_PROXY", "all_proxy"]);
        Ok(Proxies {
            https: is_set.then_some(proxy),
            http: set(["HTTP_PROXY", "http_proxy"]),
            through: through.collect(),
        })
    }
}

/// Reads the CAs of a file.
fn read_cas(path: &Path) -> Fact<Cas> {
    cas_file::read(path).map_err(|error| {
        let why = format!("{error:#}");
        format!("{} cannot be read here: {}", path.display(), cut(why, limits::QUOTED_MAX))
    })
}

/// A Deployment with this template of its pods.
#[cfg(test)]
fn of_template(template: &serde_json::Value) -> Deployed {
    let deployment = serde_json::json!({
        "metadata": {"namespace": "ops", "name": "acme"},
        "spec": {"selector": {}, "template": template},
    });
    Deployed::of(&serde_json::from_value(deployment).expect("a Deployment"))
}

/// The settings of a `doctor` without flags beside such a Deployment.
#[cfg(test)]
pub(super) fn setup_of(template: &serde_json::Value) -> Setup {
    let matches = Cli::command().mut_subcommand("doctor", |doctor| {
        doctor.mut_args(|arg| arg.env(Resettable::<OsStr>::Reset))
    });
    let matches =
        matches.try_get_matches_from(["ingress-acme", "doctor"]).expect("no flag is required");
    match Cli::from_arg_matches(&matches).expect("its own flags").command {
        Command::Doctor(args) => Setup::of(&args, Some(&of_template(template))),
        other => panic!("parsed as {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployed(args: &Value, env: &Value) -> Deployed {
        let container = json!({"name": "x", "image": "acme:1", "args": args, "env": env});
        of_template(&json!({"spec": {"containers": [container]}}))
    }

    #[test]
    fn flags_of_args_and_of_the_environment_are_read_and_args_count_first() {
        let env = json!([
            {"name": "INGRESS_ACME_ACME_DIRECTORY", "value": "https://ca.example/dir"},
            {"name": "INGRESS_ACME_MANAGE", "value": "annotated"},
            {"name": "INGRESS_ACME_INGRESS_CLASS", "value": "a,b"},
            {"name": "INGRESS_ACME_EAB_SECRET", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}},
            {"name": "HTTPS_PROXY", "value": "http://user:secret@proxy.example:3128"},
        ]);
        let found = deployed(&json!(["run", "--manage=all"]), &env);
        let flags = found.flags.as_ref().unwrap();
        assert_eq!(flags.shown.directory, "https://ca.example/dir");
        assert!(matches!(flags.args.serving.manage, ManageArg::All));
        assert_eq!(flags.args.serving.ingress_class, ["a", "b"]);
        assert_eq!(flags.shown.unread, ["INGRESS_ACME_EAB_SECRET"]);
        assert!(flags.shown.set.contains(&"--manage=all".to_owned()), "{:?}", flags.shown.set);
        assert_eq!((found.facts.wanted, found.facts.ready, &*found.account), (1, 0, "default"));
    }

    #[test]
    fn flags_of_another_release_and_another_command_are_refused_with_the_reason() {
        let of = |args: &Value| deployed(args, &json!([])).flags.map(drop).unwrap_err();
        assert!(of(&json!(["run", "--from-the-future"])).contains("--from-the-future"));
        assert!(of(&json!(["man"])).contains("do not begin with `run`"));
    }

    fn setup(env: &Value) -> Setup {
        let args = ["run", "--acme-directory=https://ca.lan:9000/x"];
        setup_of(&json!({"spec": {"containers": [{"name": "x", "args": args, "env": env}]}}))
    }

    #[test]
    fn the_way_to_the_ca_is_that_of_the_deployments_proxies_whose_password_is_not_shown() {
        let direct = setup(&json!([]));
        assert_eq!((direct.ca_ports(), direct.proxies()), (vec![9000], Ok(Proxies::default())));
        let proxy =
            json!({"name": "https_proxy", "value": "http://user:secret@proxy.example:3128"});
        let through = setup(&json!([proxy]));
        assert_eq!(through.ca_ports(), [3128]);
        let proxies = through.proxies().unwrap();
        assert_eq!(proxies.https, Some(Ok("proxy.example:3128".to_owned())));
        assert_eq!(proxies.through, ["https://ca.lan:9000/x"]);
        let excepted = setup(&json!([proxy, {"name": "NO_PROXY", "value": "ca.lan"}]));
        assert_eq!(
            (excepted.ca_ports(), excepted.proxies().unwrap().through),
            (vec![9000], vec![])
        );
        let bad = setup(&json!([{"name": "HTTPS_PROXY", "value": "http://[x"}])).proxies().unwrap();
        assert!(bad.https.unwrap().is_err());
    }
}
