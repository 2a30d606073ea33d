//! `ingress-acme demo`: the whole thing on this machine, with nothing simulated.
//!
//! It starts a real control plane with a test CA, runs this same program against it under the rights of
//! `deploy/install.yaml`, creates some Ingresses in two namespaces, and checks each certificate as a TLS client
//! would.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use ingress_acme_control_plane::{OperatorOptions, World, apply_yaml, verify_chain};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use crate::cli::DemoArgs;
use crate::keys::inspect;

/// The certificates must be there within this.
const DEADLINE: Duration = Duration::from_mins(5);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
const NAMESPACES: [&str; 2] = ["shop", "blog"];

/// One Ingress of the demo.
struct Site {
    namespace: &'static str,
    name: String,
    hosts: Vec<String>,
}

/// `demo`.
pub async fn show(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let DemoArgs { ingresses, keep } = args;
    let steps = spinner(
        "starting etcd, kube-apiserver, kube-controller-manager and Pebble (first time: building them)",
    );
    let world = World::start().await.context("the control plane did not start")?;
    steps.set_message("starting the operator");
    let operator = world.start_operator(OperatorOptions::new(std::env::current_exe()?)).await?;
    steps.finish_and_clear();
    println!("A real control plane is up, and the operator runs as process {}.", operator.pid());

    let sites: Vec<Site> = (0..ingresses).map(site).collect();
    let client = world.admin();
    for namespace in NAMESPACES {
        apply_yaml(
            &client,
            &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"),
        )
        .await?;
    }
    let began = Instant::now();
    for site in &sites {
        apply_yaml(&client, &site.yaml()).await?;
    }
    let found = wait_for_all(&client, &sites).await?;
    println!("{} certificates in {:.1} s:\n", found.len(), began.elapsed().as_secs_f64());
    println!("{}", check(&sites, &found, &world.issuing_roots_pem().await?)?);
    println!("\nEvery chain was verified for every name against the CA's root.");
    if keep {
        wait_for_the_end(&world, &operator.admin_url()).await?;
    }
    let code = operator.terminate().await?;
    if code != 0 {
        bail!("the operator ended with code {code}; its log is {}", operator.log_path().display());
    }
    Ok(ExitCode::SUCCESS)
}

fn site(number: u16) -> Site {
    let namespace = NAMESPACES[usize::from(number % 2)];
    let mut hosts = vec![format!("site-{number}.{namespace}.example.com")];
    if number % 3 == 1 {
        hosts.push(format!("www.site-{number}.{namespace}.example.com"));
    }
    Site { namespace, name: format!("site-{number}"), hosts }
}

impl Site {
    fn yaml(&self) -> String {
        let Self { namespace, name, hosts } = self;
        let backend = format!("{{service: {{name: {name}, port: {{number: 80}}}}}}");
        let rule = |host: &String| {
            format!(
                "{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix, backend: {backend}}}]}}}}"
            )
        };
        let rules: Vec<String> = hosts.iter().map(rule).collect();
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{rules: [{}]}}\n",
            rules.join(", ")
        )
    }

    /// The chain in the Secret, once it is there.
    async fn chain(&self, client: &Client) -> anyhow::Result<Option<String>> {
        let api: Api<Secret> = Api::namespaced(client.clone(), self.namespace);
        let secret = api.get_opt(&self.name).await?;
        let chain = secret.and_then(|secret| secret.data?.remove("tls.crt"));
        Ok(chain.map(|chain| String::from_utf8_lossy(&chain.0).into_owned()))
    }
}

async fn wait_for_all(client: &Client, sites: &[Site]) -> anyhow::Result<Vec<String>> {
    let bar = ProgressBar::new(u64::try_from(sites.len())?);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} certificates, {elapsed}")?);
    let deadline = Instant::now() + DEADLINE;
    let mut found = Vec::new();
    while let Some(site) = sites.get(found.len()) {
        match site.chain(client).await? {
            Some(chain) => {
                found.push(chain);
                bar.inc(1);
            }
            None if Instant::now() > deadline => {
                bail!("{}/{} has no certificate after {DEADLINE:?}", site.namespace, site.name)
            }
            None => sleep(LOOK).await,
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

fn check(sites: &[Site], chains: &[String], roots: &str) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["Ingress", "Names", "Issuer", "Expires", "Chain"]);
    for (site, chain) in sites.iter().zip(chains) {
        let names: Vec<&str> = site.hosts.iter().map(String::as_str).collect();
        verify_chain(chain, roots, &names)
            .with_context(|| format!("{}/{} has a bad chain", site.namespace, site.name))?;
        let leaf = inspect(chain, None).map_err(anyhow::Error::msg)?;
        let key = format!("{}/{}", site.namespace, site.name);
        table.add_row([
            key,
            site.hosts.join("\n"),
            leaf.issuer,
            leaf.not_after.to_string(),
            "verified".into(),
        ]);
    }
    Ok(table)
}

async fn wait_for_the_end(world: &World, admin: &str) -> anyhow::Result<()> {
    println!("\nIt stays up until Ctrl-C. To look around:");
    println!("  export KUBECONFIG={}", world.admin_kubeconfig().display());
    println!("  kubectl get ingress,secret,events -A      ingress-acme status -A");
    println!("  curl {admin}/metrics                      curl {admin}/debug/state");
    Ok(tokio::signal::ctrl_c().await?)
}

fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
