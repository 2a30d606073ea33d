//! Complete order flows without sockets; the time is an argument.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use jiff::SignedDuration;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};

use super::super::ids::Serial;
use super::super::limits::Rate;
use super::super::options::Options;
use super::super::orders::Status;
use super::ordering::NewOrder;
use super::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn start() -> Timestamp {
    "2026-11-24T09:00:00Z".parse().unwrap()
}

fn core_with(change: impl FnOnce(&mut Settings)) -> Core {
    let mut settings = Settings {
        limits: Limits::unlimited(),
        external_account: None,
        life: None,
        lives: Vec::new(),
        processing: Duration::ZERO,
        reuse: Reuse::ByProfile,
        reuse_orders: true,
        orders_kept: 100,
        seed: 1,
    };
    change(&mut settings);
    Core::new(settings, Signing::new(None).unwrap())
}

fn core() -> Core {
    core_with(|_| {})
}

fn key(number: u8) -> Jwk {
    Jwk::of_point(&[number; 65]).unwrap()
}

fn register(core: &mut Core, number: u8) -> AccountId {
    let asked = NewAccount { terms_of_service_agreed: true, ..NewAccount::default() };
    core.new_account((key(number), "url"), asked, CLIENT, start()).unwrap().0.id
}

fn open(core: &mut Core, account: AccountId, names: &[&str], now: Timestamp) -> OrderView {
    core.new_order(account, NewOrder::of(names, None), now).unwrap()
}

/// Passes all authorizations of an order.
fn pass(core: &mut Core, view: &OrderView, now: Timestamp) {
    for id in &view.order.authorizations {
        let validation =
            core.respond(view.order.wanted.account, (*id, Kind::Http01), now).unwrap().1;
        if let Some(validation) = validation {
            core.validated(&validation, Ok(()), now);
        }
    }
}

fn csr_with(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn csr(names: &[&str]) -> Vec<u8> {
    csr_with(names, |_| {})
}

/// Issues a certificate for `names` and returns its serial number.
fn issue(core: &mut Core, account: AccountId, names: &[&str], now: Timestamp) -> Serial {
    let view = open(core, account, names, now);
    pass(core, &view, now);
    let view = core.finalize(account, view.order.id, &csr(names), now).unwrap();
    view.certificate().unwrap()
}

fn id(core: &Core, serial: Serial) -> String {
    let [key, serial] = [core.signing.key_id.as_slice(), &serial.octets()];
    format!("{}.{}", BASE64URL.encode(key), BASE64URL.encode(serial))
}

#[test]
fn a_certificate_has_the_names_the_life_and_the_issuer_it_must_have() {
    let (mut core, now) = (core(), start());
    let account = register(&mut core, 1);
    let serial = issue(&mut core, account, &["b.example.com", "a.example.com"], now);
    let chain = core.chain(account, serial, false).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).unwrap();
    let leaf = pem.parse_x509().unwrap();
    assert_eq!(leaf.raw_serial(), serial.octets());
    assert_eq!(leaf.validity().not_before.timestamp(), now.as_second() - 3_600);
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(life + 1, 90 * 24 * 3_600);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 2);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
    assert_eq!(leaf.subject().as_raw().len(), 2, "an empty name");
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert_ne!(core.chain(account, serial, true).unwrap(), chain);
    assert_eq!(core.certificates.issued()[0].names, ["a.example.com", "b.example.com"]);
    let other = register(&mut core, 2);
    assert_eq!(core.chain(other, serial, false).unwrap_err().kind, "unauthorized");
}

#[test]
fn profiles_and_an_override_decide_on_the_life() {
    let life = |core: &mut Core, profile: &str| {
        let account = register(core, 1);
        let asked = serde_json::json!({
            "identifiers": [{ "type": "dns", "value": "a.example.com" }], "profile": profile,
        });
        let view = core.new_order(account, serde_json::from_value(asked).unwrap(), start())?;
        pass(core, &view, start());
        core.finalize(account, view.order.id, &csr(&["a.example.com"]), start())?;
        let issued = core.certificates.issued().remove(0);
        Ok((issued.not_after.duration_since(issued.not_before).as_secs() + 1) / 3_600)
    };
    assert_eq!(life(&mut core(), "shortlived"), Ok::<_, Problem>(160));
    assert_eq!(life(&mut core(), "tlsserver"), Ok(45 * 24));
    assert_eq!(life(&mut core(), "gold").unwrap_err().kind, "invalidProfile");
    let two_hours = |settings: &mut Settings| settings.life = Some(Duration::from_hours(2));
    assert_eq!(life(&mut core_with(two_hours), "classic"), Ok(2));
}

#[test]
fn a_profile_takes_only_so_many_names() {
    let mut core = core();
    let account = register(&mut core, 1);
    let names: Vec<String> = (0..101).map(|number| format!("h{number}.example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let refused = core.new_order(account, NewOrder::of(&names, None), start()).unwrap_err();
    assert!(refused.detail.ends_with("Order cannot contain more than 100 identifiers"));
    assert!(core.new_order(account, NewOrder::of(&names[1..], None), start()).is_ok());
}

#[test]
fn only_a_ready_order_is_finalized_and_only_once() {
    let (mut core, now) = (core(), start());
    let account = register(&mut core, 1);
    let view = open(&mut core, account, &["a.example.com"], now);
    let (id, csr) = (view.order.id, csr(&["a.example.com"]));
    let early = core.finalize(account, id, &csr, now).unwrap_err();
    assert_eq!((early.status, early.kind), (403, "orderNotReady"));
    pass(&mut core, &view, now);
    assert_eq!(core.finalize(account, id, &csr, now).unwrap().status, Status::Valid);
    let late = core.finalize(account, id, &csr, now).unwrap_err();
    let text = "Order's status (\"valid\") is not acceptable for finalization";
    assert_eq!((late.kind, late.detail.as_str()), ("orderNotReady", text));
}

#[test]
fn the_ca_of_2029_issues_for_45_days_and_for_six_where_the_order_asks_for_that() {
    let Options { life, lives, .. } = Options::year_2029();
    let mut core = core_with(|settings| (settings.life, settings.lives) = (life, lives));
    let (account, now) = (register(&mut core, 1), start());
    let mut days = |profile: Option<&str>| {
        let mut asked = NewOrder::of(&["a.example.com"], None);
        asked.profile = profile.map(str::to_owned);
        let view = core.new_order(account, asked, now).unwrap();
        pass(&mut core, &view, now);
        let issued = core.finalize(account, view.order.id, &csr(&["a.example.com"]), now).unwrap();
        let record = core.certificates.get(issued.certificate().unwrap()).unwrap();
        (record.not_after.duration_since(record.not_before).as_secs() + 1) / (24 * 3_600)
    };
    assert_eq!([None, Some("classic"), Some("shortlived")].map(&mut days), [45, 45, 6]);
}

#[test]
fn processing_takes_as_long_as_it_is_set_to() {
    let mut core = core_with(|settings| settings.processing = Duration::from_secs(5));
    let (account, now) = (register(&mut core, 1), start());
    let view = open(&mut core, account, &["a.example.com"], now);
    pass(&mut core, &view, now);
    let id = view.order.id;
    let view = core.finalize(account, id, &csr(&["a.example.com"]), now).unwrap();
    assert_eq!((view.status, view.certificate()), (Status::Processing, None));
    let later = now + SignedDuration::from_secs(5);
    assert!(core.order(account, id, later).unwrap().certificate().is_some());
}

#[test]
fn a_csr_must_be_for_the_names_of_the_order_and_well_signed_by_another_key_than_the_accounts() {
    let (mut core, now) = (core(), start());
    let account_key = KeyPair::generate().unwrap();
    let jwk = Jwk::of_point(account_key.der_bytes()).unwrap();
    let asked = NewAccount { terms_of_service_agreed: true, ..NewAccount::default() };
    let account = core.new_account((jwk, "url"), asked, CLIENT, now).unwrap().0.id;
    let view = open(&mut core, account, &["a.example.com"], now);
    pass(&mut core, &view, now);
    let mut kind =
        |csr: &[u8]| core.finalize(account, view.order.id, csr, now).map_err(|bad| bad.kind);
    assert_eq!(kind(b"hello").unwrap_err(), "malformed");
    assert_eq!(kind(&csr(&["b.example.com"])).unwrap_err(), "unauthorized");
    assert_eq!(kind(&csr(&["a.example.com", "b.example.com"])).unwrap_err(), "unauthorized");
    let mut forged = csr(&["a.example.com"]);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(kind(&forged).unwrap_err(), "badCSR");
    let params = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    let mut params = params;
    params.distinguished_name = DistinguishedName::new();
    let own = params.serialize_request(&account_key).unwrap();
    assert_eq!(kind(own.der()).unwrap_err(), "malformed");
    let named = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "A.example.com");
    };
    assert!(kind(&csr_with(&["a.example.com"], named)).is_ok());
}

#[test]
fn an_order_that_is_the_same_is_opened_once() {
    let (mut core, now) = (core(), start());
    let account = register(&mut core, 1);
    let first = open(&mut core, account, &["a.example.com"], now).order.id;
    assert_eq!(open(&mut core, account, &["a.example.com"], now).order.id, first);
    assert_ne!(open(&mut core, account, &["b.example.com"], now).order.id, first);
    assert_eq!(core.orders.opened(), 2);
    let mut core = core_with(|settings| settings.reuse_orders = false);
    let account = register(&mut core, 1);
    let first = open(&mut core, account, &["a.example.com"], now).order.id;
    assert_ne!(open(&mut core, account, &["a.example.com"], now).order.id, first);
}

#[test]
fn a_replacement_is_taken_once_and_only_of_a_certificate_of_the_account_with_a_name_in_common() {
    let (mut core, now) = (core(), start());
    let (account, other) = (register(&mut core, 1), register(&mut core, 2));
    let old = issue(&mut core, account, &["a.example.com", "b.example.com"], now);
    let replaces = Some(id(&core, old));
    let mut asks = |account, names: &[&str], replaces: Option<String>| {
        let view = core.new_order(account, NewOrder::of(names, replaces), now);
        view.map(|view| view.order.id).map_err(|bad| (bad.status, bad.kind))
    };
    assert_eq!(asks(account, &["c.example.com"], replaces.clone()), Err((400, "malformed")));
    assert_eq!(asks(other, &["a.example.com"], replaces.clone()), Err((403, "unauthorized")));
    assert_eq!(asks(account, &["a.example.com"], Some("x".to_owned())), Err((400, "malformed")));
    let order = asks(account, &["a.example.com"], replaces.clone()).unwrap();
    assert_eq!(asks(account, &["a.example.com"], replaces.clone()), Err((409, "alreadyReplaced")));
    // A failed order replaces no certificate.
    let view = core.order(account, order, now).unwrap();
    let authorization = view.order.authorizations[0];
    core.orders.authorizations.deactivate(account, authorization, now).unwrap();
    assert!(core.new_order(account, NewOrder::of(&["b.example.com"], replaces), now).is_ok());
}

#[test]
fn a_replacement_within_its_window_is_exempt_from_limits() {
    let set = Some(Rate { count: 1, per: Duration::from_hours(168) });
    let mut core = core_with(|settings| settings.limits.exact_set = set);
    let (account, now) = (register(&mut core, 1), start());
    let old = issue(&mut core, account, &["a.example.com"], now);
    let replaces = Some(id(&core, old));
    let wanted = || NewOrder::of(&["a.example.com"], replaces.clone());
    assert_eq!(core.new_order(account, wanted(), now).unwrap_err().kind, "rateLimited");
    let window = core.renewal_info(&id(&core, old), now).unwrap();
    core.certificates.window = Some(super::super::certificates::Window { start: now, ..window });
    assert!(core.new_order(account, wanted(), now).is_ok());
}

#[test]
fn a_failed_validation_is_reported_in_the_authorization_and_counted() {
    let failures = Some(Rate { count: 1, per: Duration::from_hours(1) });
    let mut core = core_with(|settings| settings.limits.failures = failures);
    let (account, now) = (register(&mut core, 1), start());
    let view = open(&mut core, account, &["a.example.com"], now);
    let validation = core
        .respond(account, (view.order.authorizations[0], Kind::Http01), now)
        .unwrap()
        .1
        .unwrap();
    assert!(validation.answer.starts_with(&format!("{}.", validation.token)));
    core.validated(&validation, Err(Problem::unauthorized("no")), now);
    assert_eq!(core.order(account, view.order.id, now).unwrap().status, Status::Invalid);
    let refused = core.new_order(account, NewOrder::of(&["a.example.com"], None), now).unwrap_err();
    assert_eq!(refused.kind, "rateLimited");
    assert_eq!(core.validations, (0, 1));
}

#[test]
fn a_caa_record_fails_a_validation_that_passed() {
    let (mut core, now) = (core(), start());
    let account = register(&mut core, 1);
    core.policy.caa.insert("example.com".to_owned());
    let view = open(&mut core, account, &["a.example.com"], now);
    pass(&mut core, &view, now);
    assert_eq!(core.order(account, view.order.id, now).unwrap().status, Status::Invalid);
}

#[test]
fn a_certificate_is_revoked_by_its_account_or_its_key() {
    let (mut core, now) = (core(), start());
    let (account, other) = (register(&mut core, 1), register(&mut core, 2));
    let serial = issue(&mut core, account, &["a.example.com"], now);
    let leaf = core.certificates.get(serial).unwrap().leaf.clone().unwrap();
    let asked = |reason: u64| {
        let certificate = BASE64URL.encode(&leaf);
        serde_json::from_value(serde_json::json!({"certificate": certificate, "reason": reason}))
    };
    let mut revoke = |by: Revoker, reason: u64| {
        core.revoke(&by, &asked(reason).unwrap(), now).map_err(|bad| bad.kind)
    };
    assert_eq!(revoke(Revoker::Account(other), 0), Err("unauthorized"));
    assert_eq!(revoke(Revoker::Key(key(9)), 0), Err("unauthorized"));
    assert_eq!(revoke(Revoker::Account(account), 2), Err("badRevocationReason"));
    assert_eq!(revoke(Revoker::Account(account), 4), Ok(()));
    assert_eq!(revoke(Revoker::Account(account), 4), Err("alreadyRevoked"));
    assert!(core.renewal_info(&id(&core, serial), now).unwrap().end < now);
}

#[test]
fn a_key_has_one_account() {
    let mut core = core();
    let asked = |only: bool| NewAccount {
        terms_of_service_agreed: true,
        only_return_existing: only,
        ..NewAccount::default()
    };
    let mut new = |asked: NewAccount| {
        let account = core.new_account((key(1), "url"), asked, CLIENT, start());
        account.map(|(account, new)| (account.id, new)).map_err(|bad| bad.kind)
    };
    assert_eq!(new(asked(true)), Err("accountDoesNotExist"));
    assert_eq!(new(NewAccount::default()), Err("malformed"));
    assert_eq!(new(asked(false)), Ok((1, true)));
    assert_eq!(new(asked(true)), Ok((1, false)));
}

#[test]
fn the_same_seed_gives_the_same_serial_numbers_and_tokens() {
    let run = || {
        let mut core = core();
        let account = register(&mut core, 1);
        let serials: BTreeSet<String> = (0..3)
            .map(|number| format!("h{number}.example.com"))
            .map(|name| issue(&mut core, account, &[&name], start()).to_string())
            .collect();
        serials
    };
    let serials = run();
    assert_eq!((serials.len(), &run()), (3, &serials));
}
