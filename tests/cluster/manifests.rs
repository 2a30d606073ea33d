//! Manifests after those of public charts and documentation, applied together: each ends as its
//! author wants, and nothing else is touched. `tests/manifests/README.md` says how to add one.

mod found;
mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingress_acme_control_plane::{World, apply_yaml, eventually, retry_when_wedged};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::commands::output;
use crate::sites::{PATIENCE, namespace, routed, verify};
use crate::{alone, operator_with};
use found::Found;
use outcome::{IngressOutcome, Key, Manifest, SecretOutcome, key_of};

const OPERATOR: &str = "system:serviceaccount:ingress-acme:ingress-acme";

/// Flags of the operator: as with a public CA, so that internal names cost no order.
const FLAGS: [&str; 2] = ["--public-ca=true", "--copy-annotations=reflector.v1.k8s.emberstack.com"];

/// Time in which a write that nothing asks for would come: the longest settle time and a job.
const QUIET: Duration = Duration::from_secs(8);

#[actix::test]
async fn each_manifest_ends_as_its_author_wants_and_nothing_else_is_touched() {
    let _alone = alone().await;
    let manifests = Manifest::all();
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        for manifest in &manifests {
            apply(&client, manifest).await;
        }
        let before = Found::now(&client).await;
        check_plan(world, &manifests).await;
        assert_eq!(
            Found::now(&client).await.versions(),
            before.versions(),
            "a plan writes nothing"
        );
        let operator = operator_with(world, &FLAGS).await;
        let found = all_as_wanted(&client, &manifests, &before).await;
        eventually(PATIENCE, "the routes have gone", async || {
            routed(&client).await.is_empty().then_some(())
        })
        .await;
        sleep(QUIET).await;
        let later = Found::now(&client).await;
        assert_eq!(later.versions(), found.versions(), "nothing is written any more");
        assert_eq!(differences(&later, &manifests, &before), [""; 0]);
        check_certificates(world, &manifests, &later).await;
        check_writes(world, &manifests);
        check_explanations(world, &manifests).await;
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}

/// Applies the objects of a manifest, as `kubectl apply --server-side` does.
async fn apply(client: &Client, manifest: &Manifest) {
    for name in manifest.namespaces() {
        namespace(client, &name).await;
    }
    let refused: BTreeMap<_, _> = manifest.outcome.refused.iter().collect();
    for object in &manifest.objects {
        let (_, name) = key_of(object);
        let applied = apply_yaml(client, &object.to_string()).await;
        let answer = applied.err().map(|error| format!("{error:?}"));
        match (answer, refused.get(&name)) {
            (None, None) => {}
            (Some(answer), Some(text)) if answer.contains(text.as_str()) => {}
            (answer, _) => panic!("{} {name}: {answer:?}", manifest.name),
        }
    }
}

fn differences(found: &Found, manifests: &[Manifest], before: &Found) -> Vec<String> {
    manifests.iter().flat_map(|manifest| found.differences(manifest, before)).collect()
}

/// Waits until all is as wanted.
///
/// # Panics
/// With all that is not.
async fn all_as_wanted(client: &Client, manifests: &[Manifest], before: &Found) -> Found {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = Found::now(client).await;
        let wrong = differences(&found, manifests, before);
        if wrong.is_empty() {
            return found;
        }
        assert!(Instant::now() < end, "{} differences:\n{}", wrong.len(), wrong.join("\n"));
        sleep(Duration::from_secs(1)).await; // each look lists all objects
    }
}

/// Each certificate is a good one, and cost one order.
async fn check_certificates(world: &World, manifests: &[Manifest], found: &Found) {
    let mut count = 0;
    for manifest in manifests {
        for name in manifest.outcome.secrets.keys() {
            verify(world, &found.secrets[&manifest.key(name)]).await;
            count += 1;
        }
    }
    figure!("{} manifests, {count} certificates", manifests.len());
    assert_eq!((world.orders_created(), world.certificates_issued()), (count, count));
}

/// The operator has written each Secret and each `spec.tls` of the outcomes once, and Events.
fn check_writes(world: &World, manifests: &[Manifest]) {
    let mut writes = BTreeMap::<String, usize>::new();
    for entry in world.audit().iter().filter(|entry| entry.user == OPERATOR) {
        let reads = ["get", "list", "watch"].contains(&entry.verb.as_str());
        let is_stored = !reads && !entry.dry_run && entry.code < 300;
        if is_stored && entry.namespace != "ingress-acme" && entry.resource != "events" {
            *writes.entry(format!("{} {}", entry.verb, entry.resource)).or_default() += 1;
        }
    }
    let secrets = manifests.iter().map(|manifest| manifest.outcome.secrets.len()).sum();
    let ingresses = manifests.iter().flat_map(|manifest| manifest.outcome.ingresses.values());
    let fills = ingresses.filter(|outcome| outcome.fills.is_some()).count();
    let expected = [("patch secrets", secrets), ("patch ingresses", fills)];
    assert_eq!(writes, expected.map(|(what, count)| (what.to_owned(), count)).into());
}

/// `plan` says beforehand what the outcomes say: who is served and who is not, each Secret, each
/// `spec.tls` that is filled in, and the number of orders.
async fn check_plan(world: &World, manifests: &[Manifest]) {
    let text = output(world, &["plan", "-A", "-o", "json", "--public-ca=true"]).await;
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    let mut rows = BTreeMap::<Key, Vec<&Value>>::new();
    for row in plan["ingresses"].as_array().expect("a list") {
        let of = |field: &str| row[field].as_str().expect(field).to_owned();
        rows.entry((of("namespace"), of("ingress"))).or_default().push(row);
    }
    let (mut wrong, mut secrets) = (Vec::new(), BTreeSet::new());
    for manifest in manifests {
        for (name, outcome) in &manifest.outcome.ingresses {
            let key = manifest.key(name);
            let rows = rows.remove(&key).unwrap_or_default();
            let planned = planned_of(&rows);
            let wanted = Planning::of(manifest, &key, outcome);
            if planned != wanted {
                wrong.push(format!(
                    "{key:?}: {planned:?} is planned, and the outcome is {wanted:?}"
                ));
            }
        }
        secrets.extend(manifest.outcome.secrets.keys().map(|name| manifest.key(name)));
    }
    assert!(rows.is_empty(), "Ingresses without an outcome: {:?}", rows.keys());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(plan["summary"]["orders"], secrets.len(), "one order for each Secret");
    assert_eq!((&plan["summary"]["renewals"], &plan["notes"]), (&json!(0), &json!([])));
}

/// Statements of a plan, or of an outcome, about an Ingress.
#[derive(Debug, PartialEq, Eq)]
struct Planning {
    /// Secrets that are ordered for it.
    secrets: BTreeSet<String>,
    /// Secret in the `spec.tls` that is filled in.
    fills: Option<String>,
}

impl Planning {
    fn of(manifest: &Manifest, (namespace, name): &Key, outcome: &IngressOutcome) -> Self {
        let of_it = |(secret, of): &(&String, &SecretOutcome)| {
            manifest.key(secret).0 == *namespace && of.owners.contains(name)
        };
        // One that is left alone owns the Secret of another Ingress, and orders nothing.
        let secrets = manifest.outcome.secrets.iter().filter(|_| outcome.left_alone.is_none());
        let secrets = secrets.filter(of_it).map(|(secret, _)| manifest.key(secret).1).collect();
        Self { secrets, fills: outcome.fills.clone() }
    }
}

fn planned_of(rows: &[&Value]) -> Planning {
    let secret = |row: &&&Value| row["secret"].as_str().expect("a Secret").to_owned();
    let ordered = rows.iter().filter(|row| row["order"] == "new");
    let fills = rows.iter().find(|row| row["fills_tls"] == true);
    Planning {
        secrets: ordered.map(|row| secret(&row)).collect(),
        fills: fills.as_ref().map(secret),
    }
}

/// `explain` names what decides, where an Ingress is left alone.
async fn check_explanations(world: &World, manifests: &[Manifest]) {
    for manifest in manifests {
        for (name, outcome) in &manifest.outcome.ingresses {
            let Some(reason) = &outcome.left_alone else { continue };
            let (namespace, name) = manifest.key(name);
            let text = output(world, &["explain", &format!("{namespace}/{name}")]).await;
            assert!(text.contains(reason.as_str()), "{reason} is not in\n{text}");
        }
    }
}
