//! The status page of 0, 3 and 5,000 Ingresses in a real Chromium, by `tests/page/check.mjs`.
//! `make page-check` installs the browser, and its driver in `target/page`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::ca::{self, Limits, Rate};
use ingress_acme_sim::dns::Trouble;
use ingress_acme_sim::{Options, World};
use rcgen::KeyPair;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::{OPERATOR, PATIENCE, alone, eventually};

#[path = "../../benches/goals/scale/objects.rs"]
mod objects;

use objects::{ingress, load, namespace, secret};

/// Number of Ingresses in the scene `many`.
const MANY: u32 = 5_000;

/// Place of the browser's driver and of the screenshots.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page")
}

/// Whether a browser and its driver are installed. In CI they are.
fn is_installed() -> bool {
    let modules = directory().join("node_modules");
    let installed = Path::new("/usr/bin/chromium").exists()
        && ["axe-core", "playwright-core"].iter().all(|module| modules.join(module).exists());
    assert!(installed || std::env::var_os("CI").is_none(), "`make page-check` installs a browser");
    if !installed {
        eprintln!("no Chromium, axe-core or playwright-core: nobody looks at the status page");
    }
    installed
}

/// Looks at the pages. `add` is called when the browser asks for one more Ingress.
async fn look(scene: &str, simulated: &Simulated, add: impl Fn()) {
    // A script finds its modules beside itself.
    let script = directory().join("check.mjs");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/check.mjs"), &script)
        .unwrap();
    let mut command = Command::new("node");
    command.arg(script).args([scene, &url(simulated, "")]).arg(directory());
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut browser = command.spawn().expect("node runs");
    let mut lines = BufReader::new(browser.stdout.take().unwrap()).lines();
    let looked = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            match line.as_str() {
                "add" => add(),
                line => println!("{scene}: {line}"),
            }
        }
        browser.wait().await.unwrap()
    };
    let status = tokio::time::timeout(PATIENCE * 2, looked).await.expect("the browser ends");
    assert!(status.success(), "{scene}: {status}");
}

fn url(simulated: &Simulated, path: &str) -> String {
    simulated.metrics_url().replace("metrics", path)
}

/// Number of Ingresses that a query finds.
async fn found(simulated: &Simulated, query: &str) -> u64 {
    let url = url(simulated, &format!("api/v1/ingresses?limit=1&{query}"));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
    let Ok(answer) = client.unwrap().get(url).send().await else { return 0 };
    answer.json::<Value>().await.map_or(0, |listing| listing["total"].as_u64().unwrap_or(0))
}

fn add(world: &World, name: &str, host: &str) {
    let secret = format!("{name}-tls");
    load(world, ingress("web", name, &secret, &[host.to_owned()])).map(drop).unwrap();
}

#[actix::test]
async fn a_browser_finds_nothing_wrong_with_the_page_of_an_empty_cluster() {
    let _alone = alone().await;
    if !is_installed() {
        return;
    }
    let simulated = crate::simulated(Options::default()).await;
    look("none", &simulated, || unreachable!("nothing is asked for")).await;
    simulated.end().await.unwrap();
}

#[actix::test]
async fn a_browser_shows_what_serves_what_fails_and_what_waits_and_a_new_ingress_as_it_comes() {
    let _alone = alone().await;
    if !is_installed() {
        return;
    }
    let domain = Some(Rate { count: 1, per: Duration::from_hours(168) });
    let limits = Limits { domain, ..Limits::unlimited() };
    let ca = ca::Options { limits, ..ca::Options::default() };
    let simulated = crate::simulated(Options { ca, ..Options::default() }).await;
    let world = simulated.world();
    world.dns().zone().set("gone.example.net", Some(Trouble::NxDomain));
    load(world, namespace("web")).unwrap();
    add(world, "shop", "shop.example.com");
    eventually("shop is valid", async || found(&simulated, "search=shop&state=valid").await == 1)
        .await;
    add(world, "limited", "limited.example.com");
    // The longest name that an Ingress may have with a Secret beside it.
    let label = "x".repeat(63);
    add(world, &"n".repeat(249), &format!("{label}.{label}.{label}.gone.example.net"));
    eventually("one fails", async || found(&simulated, "state=failing").await == 1).await;
    look("few", &simulated, || add(world, "later", "later.example.org")).await;
    simulated.end().await.unwrap();
}

#[actix::test]
#[ignore = "takes half a minute of a browser: make page-check"]
async fn a_browser_finds_each_of_five_thousand_ingresses() {
    let _alone = alone().await;
    if !is_installed() {
        return;
    }
    let world = World::start(Options::default()).unwrap();
    load(&world, namespace("web")).unwrap();
    let key = KeyPair::generate().unwrap();
    for number in 0..MANY {
        let (name, host) = (format!("site-{number}"), [format!("i{number}.example.com")]);
        let loaded = load(&world, ingress("web", &name, &name, &host)).unwrap();
        load(&world, secret(&world, &key, &name, &[loaded], &host).unwrap()).unwrap();
    }
    let simulated = Simulated::start_in(world, &[], Path::new(OPERATOR)).await.unwrap();
    let all = async || found(&simulated, "state=valid").await == u64::from(MANY);
    eventually("all are valid", all).await;
    look("many", &simulated, || unreachable!("nothing is asked for")).await;
    simulated.end().await.unwrap();
}
