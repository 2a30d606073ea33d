//! Commands that look at each CA of `--cas-file`.

use std::rc::Rc;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use ingress_acme::acme::{Acme, AcmeOptions, Wire, thumbprint};
use ingress_acme::kubernetes::account_secret::AccountSecret;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::hash::stable_hash;
use ingress_acme_actors::ports::CertificateAuthority;
use ingress_acme_sim::kube::User;
use kube::Client;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::site::Site;

/// A CA at which nothing listens.
const DEAD: &str = "https://127.0.0.1:1/dir";

/// A file with the simulated CA and a dead one. Namespace `web` may choose either.
fn file(site: &Site) -> NamedTempFile {
    let (ca, root) = (site.world().ca().directory_url(), site.world().root_file());
    let allow = json!([{"namespaces": ["web"]}]);
    let cas = json!({"cas": [
        {"name": "sim", "directory": ca, "roots": root, "public": false, "allow": allow},
        {"name": "dead", "directory": DEAD, "profile": "fast", "public": false, "allow": allow},
    ]});
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cas.to_string()).unwrap();
    file
}

/// The same file with the dead CA first.
fn file_with_a_dead_first(site: &Site) -> NamedTempFile {
    let file = file(site);
    let mut cas: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    cas["cas"].as_array_mut().unwrap().reverse();
    std::fs::write(file.path(), cas.to_string()).unwrap();
    file
}

/// Creates the Secret of an account as the flags stored it, and returns the thumbprint.
fn account_of_flags(site: &Site, directory: &str, name: &str) -> String {
    let key = KeyPair::generate().unwrap().serialize_pem();
    account_with_key(site, directory, name, &key);
    thumbprint(&PrivateKey::from_pem(key)).unwrap()
}

fn account_with_key(site: &Site, directory: &str, name: &str, key: &str) {
    let text = |text: &str| BASE64_STANDARD.encode(text);
    let data = json!({"account.key": text(key), "directory": text(directory)});
    let metadata = json!({"namespace": "ingress-acme", "name": name});
    site.load(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}));
}

/// Registers the account of the flags at the simulated CA, and returns its URL.
async fn registered(site: &Site) -> String {
    let (directory, root) = (site.world().ca().directory_url(), site.world().root_file());
    let client = Client::try_from(site.world().api().config(User::Admin)).unwrap();
    let store = Rc::new(AccountSecret::new(client, "ingress-acme", &directory, None));
    let options = AcmeOptions {
        directory,
        extra_roots: Some(std::fs::read_to_string(root).unwrap()),
        preferred_chain: None,
        contacts: Vec::new(),
        wire: Wire::Tls,
        hook: Arc::new(|_, _, _| {}),
        answering: Rc::new(|_| {}),
    };
    let acme = Acme::new(options, store).unwrap();
    acme.prepare().await.unwrap();
    acme.account().await.unwrap()
}

/// Name of the Secret of the account at a CA.
fn secret_name(directory: &str) -> String {
    format!("ingress-acme-account-{:08x}", stable_hash(directory) & 0xffff_ffff)
}

fn writes(site: &Site) -> usize {
    let audit = site.world().api().audit();
    audit.iter().filter(|of| !["get", "list", "watch"].contains(&of.verb)).count()
}

#[actix::test]
async fn a_doctor_looks_at_each_ca_of_the_file_and_names_it() {
    let site = Site::start();
    let ca = json!({"ingress-acme.dev/ca": "sim"});
    site.ingress("shop", &["shop.example.com"], Some("shop"), ca);
    site.world().dns().zone().set_caa("example.com", &[(Some("simulated.example"), &[])]);
    let (file, dns) = (file(&site), site.world().dns().address().to_string());
    let port = site.world().gateway().address().port().to_string();
    let path = file.path().to_str().unwrap();
    let args = ["doctor", "web/shop", "--cas-file", path, "--nameserver", &dns];
    let args = [&args[..], &["--probe-port", &port, "-o", "json"]].concat();
    let (code, out, error) = site.said(&args).await;
    assert_eq!((code, &*error), (3, ""), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let of = |check: &str| -> Vec<(String, String)> {
        let all = report["findings"].as_array().unwrap().iter();
        let words = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
        all.filter(|one| one["check"] == check)
            .map(|one| (words(one, "verdict"), words(one, "seen")))
            .collect()
    };
    let directories = of("directory");
    assert_eq!(directories.len(), 2, "{out}");
    assert!(directories[0].0 == "ok" && directories[0].1.starts_with("CA sim: "), "{out}");
    assert!(directories[1].0 == "fail" && directories[1].1.starts_with("CA dead: "), "{out}");
    let clocks = of("clock");
    assert_eq!(clocks.len(), 2, "{out}");
    assert!(clocks[0].1.contains("by the clock of CA sim"), "{out}");
    let caa = of("caa");
    assert_eq!(caa.len(), 2, "{out}");
    assert!(caa[0].1.contains("CA sim may"), "{out}");
    assert!(caa[1].1.contains("CA dead may"), "{out}");
    assert_eq!(writes(&site), 0);
}

#[actix::test]
async fn a_doctor_without_a_readable_file_says_so_and_supposes_no_other_ca() {
    let site = Site::start();
    let (code, out, _) = site.said(&["doctor", "--cas-file", "/nowhere/cas.yaml"]).await;
    assert_eq!(code, 3, "{out}");
    let lines: Vec<&str> = out.lines().filter(|line| line.contains(" directory ")).collect();
    let [line] = lines[..] else { panic!("{out}") };
    assert!(line.starts_with("fail") && line.contains("/nowhere/cas.yaml"), "{line}");
}

#[actix::test]
async fn the_cas_of_a_file_have_one_thumbprint_which_a_look_at_it_leaves_where_it_is() {
    let site = Site::start();
    let file = file(&site);
    let path = file.path().to_str().unwrap();
    let (code, _, error) = site.said(&["thumbprint", "--cas-file", path]).await;
    assert!(code != 0 && error.contains("the CAs of --cas-file"), "{error}");
    let expected = account_of_flags(&site, DEAD, &secret_name(DEAD));
    let (code, out, _) = site.said(&["thumbprint", "--cas-file", path]).await;
    assert_eq!((code, out.trim()), (0, &*expected));
    let snippet = ["thumbprint", "--cas-file", path, "--snippet", "nginx"];
    let (_, out, _) = site.said(&snippet).await;
    assert!(out.contains("which all have the same key") && out.contains(&expected), "{out}");
    assert_eq!(writes(&site), 0, "nothing is stored");
}

#[actix::test]
async fn a_ca_that_does_not_answer_keeps_no_command_from_the_others() {
    let site = Site::start();
    let file = file_with_a_dead_first(&site);
    let path = file.path().to_str().unwrap();
    account_of_flags(&site, DEAD, &secret_name(DEAD));
    for command in ["record", "caa", "rollover"] {
        let host = (command != "rollover").then_some("shop.example.com");
        let args: Vec<&str> =
            [command].into_iter().chain(host).chain(["--cas-file", path]).collect();
        let (code, out, error) = site.said(&args).await;
        let said = format!("{out}{error}");
        assert_ne!(code, 0, "{command}: {said}");
        assert!(said.contains("dead"), "{command}: {said}");
        let of_the_other = ["sim: no account yet", "No account at "];
        assert!(of_the_other.iter().any(|words| said.contains(words)), "{command}: {said}");
    }
    assert_eq!(writes(&site), 0, "nothing is begun where no account is known");
}

/// An operator with the file would sign with the key of before, which the CA no longer has.
#[actix::test]
async fn a_command_without_the_file_leaves_the_key_that_its_cas_share_alone_and_names_the_flag() {
    let site = Site::start();
    let (ca, root) = (site.world().ca().directory_url(), site.world().root_file());
    let key = KeyPair::generate().unwrap().serialize_pem();
    for directory in [&*ca, "--cas-file"] {
        account_with_key(&site, directory, &secret_name(directory), &key);
    }
    let root = root.to_str().unwrap();
    let args = ["rollover", "--acme-directory", &ca, "--acme-ca-file", root, "--yes"];
    let (code, out, error) = site.said(&args).await;
    assert!(code != 0 && error.contains("run it with --cas-file"), "{out}{error}");
    assert_eq!(writes(&site), 0);

    // Beside another key, the one of the flags is shown, with the flag that may be meant.
    let own = account_of_flags(&site, DEAD, &secret_name(DEAD));
    let (code, out, error) = site.said(&["thumbprint", "--acme-directory", DEAD]).await;
    assert_eq!((code, out.trim()), (0, &*own));
    assert!(error.contains("--cas-file"), "{error}");
}

#[actix::test]
async fn a_record_is_not_complete_where_a_ca_of_the_file_has_no_account() {
    let (site, other) = (Site::start(), Site::start());
    let account = registered(&site).await;
    let value = format!("ca.example; accounturi={account}");
    site.world().dns().zone().add_txt("_validation-persist.shop.example.com", &value);
    let dns = site.world().dns().address().to_string();
    let ca = |name: &str, site: &Site| {
        let (directory, roots) = (site.world().ca().directory_url(), site.world().root_file());
        json!({"name": name, "directory": directory, "roots": roots, "public": false})
    };
    for (cas, expected) in
        [(vec![ca("sim", &site)], 0), (vec![ca("sim", &site), ca("other", &other)], 1)]
    {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({ "cas": cas }).to_string()).unwrap();
        let path = file.path().to_str().unwrap();
        let args = ["record", "shop.example.com", "--cas-file", path, "--nameserver", &dns];
        let (code, out, error) = site.said(&args).await;
        assert_eq!(code, expected, "{out}{error}");
        let args = ["caa", "shop.example.com", "--cas-file", path, "--nameserver", &dns];
        let (code, out, error) = site.said(&args).await;
        assert_eq!(code, expected, "{out}{error}");
        assert_eq!(out.contains("other has no record here"), expected != 0, "{out}");
    }
}
