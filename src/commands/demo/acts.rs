//! The acts of the demo, and the expected result of each.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use ingress_acme_sim::ca::Issued;
use ingress_acme_sim::kube::User;
use ingress_acme_sim::trust::verify_chain;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{DEADLINE, Demo};
use crate::commands::storm::figures::Percentiles;
use crate::commands::storm::tally::Tally;
use crate::commands::storm::{LoadOptions, create_and_wait, prepare, show};

/// Time between two checks.
const LOOK: Duration = Duration::from_millis(50);
/// Time by which the clock is advanced: more than half the lifetime of a certificate of 160 hours,
/// and far less than two thirds of 90 days.
pub(super) const TRAVEL: Duration = Duration::from_hours(4 * 24);
/// Ingress with the expiring certificate, in the namespace `default`. Its Secret has the same name.
pub(super) const SHORT: &str = "short-lived";
const SHORT_HOST: &str = "short.example.com";
/// Lease duration as printed by the demo: the longest time until the next operator leads.
const LEASE: &str = "15 s";

impl Demo {
    /// Plays all acts in order.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        self.make_short_lived().await?;
        self.storm().await?;
        self.expiry().await?;
        self.deletion().await?;
        self.count_events().await?;
        self.verify_all().await
    }

    async fn make_short_lived(&self) -> anyhow::Result<()> {
        println!("An Ingress requests a certificate with a lifetime of 160 hours.");
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), "default");
        let short = serde_json::from_value(json!({
            "metadata": {"name": SHORT, "annotations": {"ingress-acme.dev/profile": "shortlived"}},
            "spec": {
                "rules": [{"host": SHORT_HOST}],
                "tls": [{"hosts": [SHORT_HOST], "secretName": SHORT}],
            },
        }))?;
        api.create(&PostParams::default(), &short).await?;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), "default");
        until("its Secret", async || Ok(api.get_opt(SHORT).await?.is_some())).await
    }

    /// Runs the storm, with a crash after a third of the certificates.
    async fn storm(&mut self) -> anyhow::Result<()> {
        let (client, plan) = (self.client.clone(), self.plan.clone());
        let count = plan.ingresses;
        println!(
            "A storm: {count} Ingresses with two hosts each, each edited {} times at once. The CA accepts {} orders fewer than \
             that, then one a second. When a third of them have their certificate, the operator crashes; the next one \
             leads when the lease has expired, {LEASE} later at most.",
            plan.edits,
            super::OVER_THE_LIMIT.min(count / 2),
        );
        prepare(&client, &plan, DEADLINE).await?;
        let tally = RefCell::new(Tally::new((0..count).map(|number| plan.key(number))));
        let options = LoadOptions { rate: None, deadline: DEADLINE, quiet: false };
        let third = usize::try_from(count / 3)?;
        let crash = async {
            while tally.borrow().written_count() < third {
                sleep(LOOK).await;
            }
            let after = tally.borrow().written_count();
            self.crash().await?;
            anyhow::Ok(after)
        };
        let storm = async {
            tokio::select! {
                finished = create_and_wait(&client, &plan, &options, &tally) => finished,
                () = show(&plan, &options, &tally) => bail!("the progress display has ended"),
            }
        };
        let (crashed_after, ()) = tokio::try_join!(crash, storm)?;
        let rows = tally.into_inner().rows().to_vec();
        let times = rows.iter().filter_map(crate::commands::storm::tally::Row::took).collect();
        self.times = Percentiles::of(times);
        let right = rows.iter().filter(|row| row.right).count();
        self.check_storm(right, crashed_after)
    }

    fn check_storm(&mut self, right: usize, crashed_after: usize) -> anyhow::Result<()> {
        let (count, ca) = (usize::try_from(self.plan.ingresses)?, self.world.ca().counts());
        let audit = self.world.api().audit().into_iter();
        self.requests = audit.filter(|of| of.user == User::Operator).map(|of| of.count).sum();
        let checks = &mut self.checks;
        checks.claim(
            "each Ingress of the storm has the right certificate",
            right == count,
            format!("{right} of {count}"),
        );
        let certificates = self.world.ca().issued().len();
        checks.claim("one certificate each, and no more", certificates == count + 1, certificates);
        checks.claim(
            "a rate limit was hit, and the orders waited for its end",
            ca.rate_limited > 0,
            format!("{} refusals", ca.rate_limited),
        );
        checks.claim(
            "the operator crashed, and another one continued",
            crashed_after < count,
            format!("after {crashed_after} Secrets"),
        );
        Ok(())
    }

    /// Advances the clock by four days and checks that exactly one certificate is renewed.
    async fn expiry(&mut self) -> anyhow::Result<()> {
        println!(
            "Four days pass: half the lifetime of the short-lived certificate is over. The others are valid for 90 days."
        );
        let before = self.world.ca().issued().len();
        self.world.clock().advance(TRAVEL);
        until("its renewal", async || Ok(self.world.ca().issued().len() > before)).await?;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), "default");
        let renewed = self.last_of(SHORT_HOST)?;
        until("the new certificate in the Secret", async || {
            Ok(serial(&chain(&api, SHORT).await?)? == renewed.serial)
        })
        .await?;
        // Anything else that is due would be found by the next scans.
        sleep(super::SCAN_INTERVAL).await;
        let new = self.world.ca().issued().len() - before;
        self.checks.claim(
            "only the short-lived certificate is renewed",
            new == 1,
            format!("{new} renewed"),
        );
        Ok(())
    }

    fn last_of(&self, host: &str) -> anyhow::Result<Issued> {
        let issued = self.world.ca().issued().into_iter().rev();
        issued
            .into_iter()
            .find(|one| one.names.iter().any(|name| name == host))
            .with_context(|| format!("there is no certificate for {host}"))
    }

    async fn deletion(&mut self) -> anyhow::Result<()> {
        println!("An Ingress is deleted.");
        let (namespace, name) = self.plan.key(0);
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), &namespace);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        ingresses.delete(&name, &DeleteParams::default()).await?;
        until("the deletion of its Secret", async || Ok(secrets.get_opt(&name).await?.is_none()))
            .await?;
        self.checks.claim("its Secret was deleted with it", true, "gone");
        Ok(())
    }

    async fn count_events(&mut self) -> anyhow::Result<()> {
        let said = self.source()?.sample().await?;
        self.sample.add(&said);
        let coalesced = self.sample.coalesced;
        let share = format!("{coalesced} of {}", self.sample.events);
        self.checks.claim("bursts of edits were coalesced", coalesced > 0, share);
        Ok(())
    }

    /// Verifies all certificates as a TLS client would: chain, names and validity, against the CA's
    /// root.
    async fn verify_all(&mut self) -> anyhow::Result<()> {
        let (roots, now) = (self.world.ca().root_pem(), self.world.clock().now());
        let mut verified = 0;
        for number in 1..self.plan.ingresses {
            let (namespace, name) = self.plan.key(number);
            let api: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
            let hosts: BTreeSet<String> = self.plan.final_hosts(number);
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let chain = chain(&api, &name).await?;
            verified += u32::from(verify_chain(&chain, &roots, &hosts, now).is_ok());
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), "default");
        let chain = chain(&api, SHORT).await?;
        verified += u32::from(verify_chain(&chain, &roots, &[SHORT_HOST], now).is_ok());
        let all = self.plan.ingresses;
        let figure = format!("{verified} of {all}");
        self.checks.claim(
            "a TLS client trusts every chain for every host",
            verified == all,
            figure,
        );
        Ok(())
    }
}

/// Polls `is_so` until true.
async fn until(what: &str, is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let waited = async {
        while !is_so().await? {
            sleep(LOOK).await;
        }
        Ok(())
    };
    timeout(DEADLINE / 2, waited).await.with_context(|| format!("waited too long for {what}"))?
}

async fn chain(api: &Api<Secret>, name: &str) -> anyhow::Result<String> {
    let secret = api.get(name).await.with_context(|| format!("Secret {name}"))?;
    let chain = secret.data.and_then(|mut data| data.remove("tls.crt"));
    Ok(String::from_utf8(chain.context("it has no tls.crt")?.0)?)
}

fn serial(chain: &str) -> anyhow::Result<String> {
    Ok(crate::pki::inspect(chain, None).map_err(anyhow::Error::msg)?.serial)
}
