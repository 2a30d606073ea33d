//! Users who change Ingresses and Secrets at random, and look whether all are served.

use ingress_acme_sim::World;
use ingress_acme_sim::kube::User;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

fn site(n: usize, hosts: usize) -> Value {
    let hosts: Vec<String> = (0..hosts).map(|host| format!("h{host}.s{n}.example.com")).collect();
    let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
    let tls = json!([{"hosts": hosts, "secretName": format!("s{n}")}]);
    json!({"metadata": {"name": format!("s{n}")}, "spec": {"rules": rules, "tls": tls}})
}

/// Users who make, edit and delete Ingresses and Secrets.
pub(crate) struct Users {
    ingresses: Api<Ingress>,
    secrets: Api<Secret>,
    random: fastrand::Rng,
    /// Number of hosts of each Ingress; 0 where there is none.
    hosts: Vec<usize>,
}

impl Users {
    pub(crate) async fn of(world: &World, sites: usize, seed: u64) -> Self {
        let client = Client::try_from(world.api().config(User::Admin)).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let web = serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
        namespaces.create(&PostParams::default(), &web).await.unwrap();
        let ingresses = Api::namespaced(client.clone(), "web");
        let (random, hosts) = (fastrand::Rng::with_seed(seed), vec![0; sites]);
        Self { ingresses, secrets: Api::namespaced(client, "web"), random, hosts }
    }

    pub(crate) async fn change(&mut self) {
        let (n, name) = (self.random.usize(..self.hosts.len()), |n| format!("s{n}"));
        let chosen = self.random.usize(..7);
        let delete = DeleteParams::default();
        match (self.hosts[n], chosen) {
            (0, _) => {
                self.hosts[n] = 1 + chosen % 3;
                let object = serde_json::from_value(site(n, self.hosts[n])).unwrap();
                self.ingresses.create(&PostParams::default(), &object).await.unwrap();
            }
            (_, 0) => {
                self.hosts[n] = 0;
                self.ingresses.delete(&name(n), &delete).await.unwrap();
            }
            (_, 5..) => {
                // A renewal by age takes 12 hours at least.
                let renew = json!({"ingress-acme.dev/renew": self.random.u32(..).to_string()});
                let patch = Patch::Merge(json!({"metadata": {"annotations": renew}}));
                self.ingresses.patch(&name(n), &PatchParams::default(), &patch).await.unwrap();
            }
            (_, 1) => _ = self.secrets.delete(&name(n), &delete).await, // there may be none yet
            _ => {
                self.hosts[n] = chosen - 1;
                let patch = Patch::Merge(json!({"spec": site(n, self.hosts[n])["spec"]}));
                self.ingresses.patch(&name(n), &PatchParams::default(), &patch).await.unwrap();
            }
        }
    }

    /// Edits an annotation of each Ingress, which ends the pauses of those that fail.
    pub(crate) async fn touch_all(&self) {
        for n in (0..self.hosts.len()).filter(|n| self.hosts[*n] > 0) {
            let patch = Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}}));
            let name = format!("s{n}");
            self.ingresses.patch(&name, &PatchParams::default(), &patch).await.unwrap();
        }
    }

    /// Whether each Ingress has a certificate for exactly its hosts.
    pub(crate) async fn are_served(&self) -> bool {
        for n in (0..self.hosts.len()).filter(|n| self.hosts[*n] > 0) {
            let secret = self.secrets.get_opt(&format!("s{n}")).await.unwrap();
            let chain = secret.and_then(|secret| secret.data?.remove("tls.crt"));
            let chain = chain.and_then(|chain| String::from_utf8(chain.0).ok()).unwrap_or_default();
            let names = ingress_acme::pki::inspect(&chain, None).map(|leaf| leaf.names.len());
            if names != Ok(self.hosts[n]) {
                return false;
            }
        }
        true
    }
}
