//! A reader of the documents, who types their commands.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;

use ingress_acme_control_plane::{Operator, World, eventually};
use kube::Client;
use serde_json::Value;

use crate::documents::{commands, root};
use crate::restore::shell;
use crate::sites::{PATIENCE, secret, text};

/// The operator's user, whose rights are asked for.
pub(super) const USER: &str = "system:serviceaccount:ingress-acme:ingress-acme";

/// Runs documented commands with their placeholders replaced, and records them.
pub(super) struct Reader<'a> {
    pub(super) world: &'a World,
    pub(super) client: Client,
    /// Commands with their places.
    documented: BTreeMap<String, String>,
    ran: RefCell<BTreeSet<String>>,
    /// Placeholders with their values. A pod's ports are those of the operator's process.
    values: Vec<(&'static str, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        for folder in ["deploy", "kustomize"] {
            symlink(root().join(folder), world.directory().join(folder)).expect("a link");
        }
        let in_the_pod = "kubectl -n ingress-acme exec deploy/ingress-acme -- /ingress-acme";
        let consent = "--reason keyCompromise --yes";
        let values = [
            (in_the_pod, "ingress-acme"),
            ("--reason keyCompromise", consent), // There is no terminal to ask.
            ("NAMESPACE/NAME", "web/first"),
            ("-n NAMESPACE", "-n web"),
            ("ingress NAME", "ingress first"),
            ("namespace NAME", "namespace web"),
            ("=KID", "=the-kid"),
            ("=HMAC", "=the-hmac"),
            ("=URL", "=https://ca.example/directory"),
        ];
        let values = values.map(|(name, value)| (name, value.to_owned())).to_vec();
        let documented = commands().into_iter().map(|one| (one.text, one.place)).collect();
        Self { world, client: world.admin(), documented, ran: RefCell::default(), values }
    }

    /// Gives the commands the addresses of an operator.
    pub(super) fn with(&mut self, operator: &Operator) {
        let admin = operator.admin_url().trim_start_matches("http://").to_owned();
        self.values.push(("localhost:9090", admin.clone()));
        self.values.push(("localhost:9091", admin));
        self.values.push(("//HOST/", format!("//{}/", operator.solver_address())));
    }

    /// Output of a documented command.
    pub(super) async fn run(&self, command: &str) -> String {
        self.run_for(command, "shop").await
    }

    /// Output of a documented command, for this Ingress in place of `shop`.
    pub(super) async fn run_for(&self, command: &str, name: &str) -> String {
        let place = self.documented.get(command);
        let place = place.unwrap_or_else(|| panic!("no page has: {command}"));
        self.ran.borrow_mut().insert(command.to_owned());
        let filled = self.values.iter().fold(command.to_owned(), |text, (placeholder, value)| {
            text.replace(placeholder, value)
        });
        // A failure shows the comment.
        self.shell(&format!("# {place}\n{}", filled.replace("shop", name))).await
    }

    /// Output of a command of this test, with the operator's settings in the environment, as in
    /// its Pod.
    pub(super) async fn shell(&self, command: &str) -> String {
        let (directory, root) = (self.world.acme_directory(), self.world.acme_ca_file().display());
        let settings = format!(
            "export INGRESS_ACME_ACME_DIRECTORY={directory} INGRESS_ACME_ACME_CA_FILE={root}"
        );
        shell(self.world, &format!("{settings}\n{command}")).await
    }

    /// Waits until the operator has a right, or has lost it.
    pub(super) async fn right(&self, right: &str, expected: bool) {
        let ask = format!("kubectl auth can-i {right} --as={USER} || true");
        eventually(PATIENCE, &format!("{right}: {expected}"), async || {
            (self.shell(&ask).await.trim().ends_with("yes") == expected).then_some(())
        })
        .await;
    }

    /// Environment of the operator in its Deployment, a variable on each line.
    pub(super) async fn settings(&self) -> String {
        self.shell("kubectl -n ingress-acme set env deployment/ingress-acme --list").await
    }

    /// Runs a command that has one more certificate issued for the Ingress `first`.
    pub(super) async fn renews(&self, command: &str) -> String {
        let chain = async || text(&secret(&self.client, "web", "first-tls").await?, "tls.crt");
        let before = chain().await;
        let said = self.run(command).await;
        eventually(PATIENCE, command, async || (chain().await != before).then_some(())).await;
        said
    }

    /// The certificates of an Ingress, as `status` shows them.
    pub(super) async fn status(&self, name: &str) -> Value {
        let rows = self.shell("ingress-acme status -n web -o json").await;
        let rows: Vec<Value> = serde_json::from_str(&rows).expect("JSON");
        let row = rows.into_iter().find(|row| row["ingress"] == name);
        row.unwrap_or_else(|| panic!("no row of {name}"))
    }

    /// Waits until the operator serves an Ingress.
    pub(super) async fn served(&self, name: &str) {
        let list = "curl -s 'localhost:9091/api/v1/ingresses?namespace=web&limit=100&offset=0'";
        eventually(PATIENCE, &format!("{name} is served"), async || {
            let listed: Value = serde_json::from_str(&self.run(list).await).expect("JSON");
            assert_eq!(listed["role"], "leader");
            let all = listed["ingresses"].as_array().expect("a list");
            all.iter().any(|one| one["name"] == name).then_some(())
        })
        .await;
    }

    /// The documented commands that were run.
    pub(super) fn ran(&self) -> BTreeSet<String> {
        self.ran.borrow().clone()
    }

    /// The one documented command that contains a text.
    pub(super) fn with_text(&self, text: &str) -> &str {
        let found: Vec<&String> =
            self.documented.keys().filter(|command| command.contains(text)).collect();
        let [command] = found[..] else { panic!("{text}: {found:?}") };
        command
    }
}
