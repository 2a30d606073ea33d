//! Three CAs by `--cas-file` on the real API server, with the rights of `deploy/install.yaml`: two
//! Pebbles and the simulated CA.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use ingress_acme_control_plane::{
    AnotherPebble, Operator, OperatorOptions, Options, World, eventually, retry_when_wedged_with,
};
use ingress_acme_sim::ca;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::alone;
use crate::commands::output;
use crate::overlays::kubectl;
use crate::sites::{PATIENCE, Site, certificate, events, namespace, secret};

/// The CAs of the test, with the number of orders at each.
struct Cas<'a> {
    world: &'a World,
    second: AnotherPebble,
    file: PathBuf,
}

impl Cas<'_> {
    fn orders(&self) -> [usize; 3] {
        let simulated = self.world.simulated_ca().expect("it is simulated").issued().len();
        [self.world.orders_created(), self.second.orders_created(), simulated]
    }

    fn directories(&self) -> [String; 3] {
        [self.world.pebble_directory(), self.second.directory(), self.world.acme_directory()]
    }

    /// Writes the file with these names of the three CAs. The first one is the default, and for
    /// the namespace `other` the third.
    fn write(&self, names: [&str; 3]) {
        let roots = self.world.acme_ca_file().display();
        let mut text = "cas:\n".to_owned();
        for (name, directory) in names.iter().zip(self.directories()) {
            _ = write!(
                text,
                "- name: {name}\n  directory: {directory}\n  roots: {roots}\n  public: false\n  allow: [{{namespaces: [web]}}]\n"
            );
        }
        _ = write!(text, "default:\n- namespaces: [other]\n  ca: {}\n", names[2]);
        replace(&self.file, &text);
    }
}

/// Replaces a file as a whole, as the kubelet does.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("the file is written");
    std::fs::rename(&new, file).expect("the file is replaced");
}

async fn operator(cas: &Cas<'_>) -> Operator {
    let options = OperatorOptions {
        without: vec!["--acme-directory", "--acme-ca-file", "--contact"],
        ..OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme"))
    };
    let options = options.args(["--cas-file", &cas.file.display().to_string()]);
    cas.world.start_operator(options).await.expect("the operator starts")
}

/// Waits until the certificate of an Ingress is from the CA of this directory.
async fn issued_by(client: &Client, (namespace, name): (&str, &str), directory: &str) {
    let host = format!("{name}.example.com");
    let tls = format!("{name}-tls");
    eventually(PATIENCE, &format!("a certificate of {name} by {directory}"), async || {
        let annotations = secret(client, namespace, &tls).await?.metadata.annotations?;
        (annotations.get("ingress-acme.dev/directory")? == directory).then_some(())
    })
    .await;
    certificate(client, namespace, &tls, &[&host]).await;
}

/// Waits until the metrics have this line.
async fn shows(operator: &Operator, line: &str) {
    eventually(PATIENCE, line, async || {
        let answer = reqwest::get(format!("{}/metrics", operator.admin_url())).await.ok()?;
        answer.text().await.ok()?.lines().any(|one| one == line).then_some(())
    })
    .await;
}

fn site(namespace: &str, name: &str) -> Site {
    Site::new(namespace, name, &[&format!("{name}.example.com")])
}

async fn annotate(world: &World, name: &str, ca: &str) {
    let annotation = format!("ingress-acme.dev/ca={ca}");
    let args = ["annotate", "--namespace=web", "ingress", name, "--overwrite", &annotation];
    kubectl(world, &args, None).await;
}

/// A bad file is told by an Event of the pod and a metric, and changes nothing.
async fn check_a_bad_file(cas: &Cas<'_>, operator: &Operator, client: &Client) {
    replace(&cas.file, "cas:\n- name: one\n  colour: red\n");
    shows(operator, "ingress_acme_cas_file_bad 1").await;
    let pods: Api<Event> = Api::namespaced(client.clone(), "ingress-acme");
    let note = eventually(PATIENCE, "the Event of the pod", async || {
        let all = pods.list(&ListParams::default()).await.ok()?.items.into_iter();
        let of_pod = |event: &Event| {
            event.reason.as_deref() == Some("BadCasFile")
                && event.regarding.as_ref().is_some_and(|one| one.kind.as_deref() == Some("Pod"))
        };
        all.filter(of_pod).find_map(|event| event.note)
    })
    .await;
    assert!(note.contains("line 3"), "{note}");
    site("web", "meanwhile").create(client).await;
    issued_by(client, ("web", "meanwhile"), &cas.directories()[0]).await;
}

#[actix::test]
async fn each_certificate_has_its_ca_through_annotations_reloads_and_a_rollover() {
    let _alone = alone().await;
    let options = Options { simulated_ca: Some(ca::Options::default()), ..Options::default() };
    retry_when_wedged_with(3, &options, async |world: &World| {
        let client = world.admin();
        let second = world.start_another_pebble().await.expect("the other Pebble");
        let cas = Cas { world, second, file: world.directory().join("cas.yaml") };
        let [one, two, three] = cas.directories();
        cas.write(["one", "two", "three"]);
        for name in ["web", "other"] {
            namespace(&client, name).await;
        }
        let operator = operator(&cas).await;
        site("web", "plain").create(&client).await;
        site("web", "asks").annotation("ingress-acme.dev/ca", "two").create(&client).await;
        site("other", "other").create(&client).await;
        issued_by(&client, ("web", "plain"), &one).await;
        issued_by(&client, ("web", "asks"), &two).await;
        issued_by(&client, ("other", "other"), &three).await;
        assert_eq!(cas.orders(), [1, 1, 1]);

        annotate(world, "plain", "three").await;
        issued_by(&client, ("web", "plain"), &three).await;
        annotate(world, "plain", "one").await;
        issued_by(&client, ("web", "plain"), &one).await;
        assert_eq!(cas.orders(), [2, 1, 2]);
        let explained = output(world, &["explain", "web/asks"]).await;
        assert!(explained.contains(&two), "{explained}");

        check_a_bad_file(&cas, &operator, &client).await;
        cas.write(["first", "second", "third"]);
        shows(&operator, "ingress_acme_cas_file_bad 0").await;
        let told = eventually(PATIENCE, "the Event of an unknown CA", async || {
            let events = events(&client, "web", "asks").await;
            events.into_iter().find(|(_, note)| note.contains("`two`")).map(|(reason, _)| reason)
        })
        .await;
        assert_eq!(told, "Skipped");
        annotate(world, "asks", "second").await;
        annotate(world, "plain", "first").await;

        let file = cas.file.display().to_string();
        let operators = "ingress-acme";
        let args = ["rollover", "--cas-file", &file, "--operator-namespace", operators, "--yes"];
        let rolled = output(world, &args).await;
        assert!(
            ["first", "second", "third"]
                .iter()
                .all(|ca| rolled.contains(&format!("{ca}: the account has the new key."))),
            "{rolled}"
        );
        for (name, ca, directory) in
            [("x", "first", &one), ("y", "second", &two), ("z", "third", &three)]
        {
            site("web", name).annotation("ingress-acme.dev/ca", ca).create(&client).await;
            issued_by(&client, ("web", name), directory).await;
        }
        assert_eq!(cas.orders(), [4, 2, 3], "renamed CAs have ordered nothing");
        operator.terminate().await.expect("the operator ends");
    })
    .await;
}
