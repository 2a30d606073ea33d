//! Command lines and readiness of etcd, kube-apiserver and kube-controller-manager.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::KeyPair;
use reqwest::Client;
use serde_json::json;

use crate::binaries::Binaries;
use crate::directory::Directory;
use crate::error::StartError;
use crate::ports::Port;
use crate::process::{Process, Program, Readiness};
use ingress_acme_sim::pki::RootCa;

/// Deadline of readiness on a slow machine under load; a quiet machine takes about 5 s.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Timeout of one readiness request.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Token of a user with all rights (group `system:masters`).
const ADMIN_TOKEN: &str = "admin-of-a-throw-away-cluster";
/// Token of the operator, whose only rights are the RBAC rules of the operator's manifest.
const OPERATOR_TOKEN: &str = "operator-of-a-throw-away-cluster";

const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// Ports of the cluster, and the files that name them.
#[derive(Debug)]
pub(crate) struct Cluster {
    etcd: Port,
    etcd_peer: Port,
    api: Port,
    controllers: Port,
    /// Kubeconfig of `admin`.
    pub(crate) admin_kubeconfig: PathBuf,
    /// Kubeconfig of the operator's service account.
    pub(crate) operator_kubeconfig: PathBuf,
    /// Audit log of the API server.
    pub(crate) audit_log: PathBuf,
}

impl Cluster {
    /// Chooses ports and writes the kubeconfigs.
    pub(crate) fn prepare(
        directory: &Directory,
        reserve: impl Fn() -> Result<Port, StartError>,
        root_file: &Path,
    ) -> Result<Self, StartError> {
        let api = reserve()?;
        let server = format!("https://127.0.0.1:{}", api.number());
        let kubeconfig = |name: &str, token: &str| {
            directory.write(&format!("{name}.kubeconfig"), &kubeconfig(&server, root_file, token))
        };
        Ok(Self {
            admin_kubeconfig: kubeconfig("admin", ADMIN_TOKEN)?,
            operator_kubeconfig: kubeconfig("operator", OPERATOR_TOKEN)?,
            audit_log: directory.path().join("audit.log"),
            etcd: reserve()?,
            etcd_peer: reserve()?,
            controllers: reserve()?,
            api,
        })
    }

    /// Command line of etcd, as a single member that does not sync to disk.
    pub(crate) fn etcd(&self, binaries: &Binaries, directory: &Directory) -> Program {
        let clients = format!("http://{}", self.etcd.address());
        let peers = format!("http://{}", self.etcd_peer.address());
        let data = directory.path().join("etcd");
        let args = vec![
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ];
        program("etcd", args, binaries, directory)
    }

    /// Writes the API server's files and returns its command line.
    pub(crate) fn apiserver(
        &self,
        binaries: &Binaries,
        directory: &Directory,
        root_ca: &RootCa,
    ) -> Result<Program, StartError> {
        let leaf = root_ca.leaf("kube-apiserver")?;
        let accounts = KeyPair::generate()?;
        let file = |name: &str, content: &str| {
            directory.write(name, content).map(|path| path.display().to_string())
        };
        let certificate = file("apiserver.pem", &leaf.certificate_pem)?;
        let key = file("apiserver-key.pem", &leaf.key_pem)?;
        let accounts_key = file("service-accounts-key.pem", &accounts.serialize_pem())?;
        let accounts_public = file("service-accounts.pem", &accounts.public_key_pem())?;
        let tokens = file("tokens.csv", &tokens())?;
        let policy = file("audit-policy.yaml", AUDIT_POLICY)?;
        let args = vec![
            format!("--etcd-servers=http://{}", self.etcd.address()),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--secure-port={}", self.api.number()),
            format!("--cert-dir={}", directory.path().display()),
            format!("--tls-cert-file={certificate}"),
            format!("--tls-private-key-file={key}"),
            "--service-cluster-ip-range=10.0.0.0/24".into(),
            "--endpoint-reconciler-type=none".into(),
            "--authorization-mode=RBAC".into(),
            format!("--token-auth-file={tokens}"),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={accounts_public}"),
            format!("--service-account-signing-key-file={accounts_key}"),
            // The plugin waits for tokens of a controller that is not run here.
            "--disable-admission-plugins=ServiceAccount".into(),
            format!("--audit-policy-file={policy}"),
            format!("--audit-log-path={}", self.audit_log.display()),
        ];
        Ok(program("kube-apiserver", args, binaries, directory))
    }

    /// Command line of the controllers: garbage collection, and deletion of namespaces.
    pub(crate) fn controller_manager(&self, binaries: &Binaries, dir: &Directory) -> Program {
        let args = vec![
            format!("--kubeconfig={}", self.admin_kubeconfig.display()),
            format!("--authentication-kubeconfig={}", self.admin_kubeconfig.display()),
            format!("--authorization-kubeconfig={}", self.admin_kubeconfig.display()),
            "--controllers=garbage-collector-controller,namespace-controller".into(),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.controllers.number()),
            format!("--cert-dir={}", dir.path().display()),
        ];
        program("kube-controller-manager", args, binaries, dir)
    }

    /// Waits until etcd is healthy.
    pub(crate) async fn etcd_ready(&self, etcd: &Process, http: &Client) -> Result<(), StartError> {
        let url = format!("http://{}/health", self.etcd.address());
        etcd.readiness().wait(READY_WITHIN, async || is_ok(http.get(&url)).await).await
    }

    /// Waits until the API server is ready, with its default roles in place.
    pub(crate) async fn api_ready(
        &self,
        apiserver: Readiness,
        http: &Client,
    ) -> Result<(), StartError> {
        let url = format!("https://127.0.0.1:{}/readyz", self.api.number());
        let ready = async || is_ok(http.get(&url).bearer_auth(ADMIN_TOKEN)).await;
        apiserver.wait(READY_WITHIN, ready).await
    }
}

async fn is_ok(request: reqwest::RequestBuilder) -> bool {
    let answer = request.timeout(ANSWERS_WITHIN).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

fn program(name: &str, args: Vec<String>, binaries: &Binaries, dir: &Directory) -> Program {
    let log = dir.path().join(format!("{name}.log"));
    Program { name: name.into(), path: binaries.path(name), args, env: Vec::new(), log }
}

/// Static tokens, one per line: token, user, UID, groups. The operator is the service account named
/// in the manifest's bindings.
fn tokens() -> String {
    let groups = "system:serviceaccounts,system:serviceaccounts:ingress-acme,system:authenticated";
    format!(
        "{ADMIN_TOKEN},admin,1,\"system:masters\"\n\
         {OPERATOR_TOKEN},system:serviceaccount:ingress-acme:ingress-acme,2,\"{groups}\"\n"
    )
}

/// Kubeconfig as JSON, which is valid YAML.
fn kubeconfig(server: &str, root_file: &Path, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "test",
            "cluster": { "server": server, "certificate-authority": root_file },
        }],
        "users": [{ "name": "test", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    })
    .to_string()
}
