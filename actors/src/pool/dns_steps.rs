//! Steps of a job in DNS: lookups, and TXT records of challenges.

use std::collections::BTreeSet;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt};
use tokio::time::timeout;
use tracing::debug;

use super::job_runner::JobRunner;
use crate::domain::dns::method::{DnsFacts, Persist};
use crate::domain::dns::persist::permits;
use crate::domain::dns::txt::{TxtRecord, TxtWrite};
use crate::domain::failure::FailureClass;
use crate::domain::issuance::{AfterRefusal, Command, TxtAdded};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::scheduler::Job;
use crate::ports::PortError;

const LATE: &str = "no answer in time";

impl JobRunner {
    /// Looks up what DNS says about names that are not known yet.
    pub(super) async fn look_up_dns(&self, job: &mut Job, names: BTreeSet<DnsName>) {
        let unknown =
            names.into_iter().filter(|name| !job.observed.in_dns.facts.contains_key(name));
        // A few at a time, so that other jobs come between.
        let unknown: Vec<DnsName> = unknown.take(limits::PROBES_AT_ONCE).collect();
        let looks = stream::iter(unknown).map(|name| async {
            let facts = self.facts_of(job, &name).await;
            (name, facts)
        });
        let found: Vec<_> = looks.buffer_unordered(limits::DNS_AT_ONCE).collect().await;
        job.observed.in_dns.facts.extend(found);
    }

    async fn facts_of(&self, job: &Job, name: &DnsName) -> DnsFacts {
        let dns = &self.context.dns;
        let late = |_| Err(LATE.to_owned());
        let target = timeout(limits::DNS_LOOK, dns.lookups.target(name)).await.unwrap_or_else(late);
        let persist = match self.persist_issuer(job) {
            None => Persist::Off,
            Some(issuer) => {
                let values = timeout(limits::DNS_LOOK, dns.lookups.persist_records(name)).await;
                let now = self.context.clock.now();
                match values.unwrap_or_else(|_| Err(LATE.to_owned())) {
                    Ok(values) if permits(&values, &issuer, name, now) => Persist::Fits,
                    Ok(_) => Persist::Missing,
                    Err(why) => Persist::Unknown(why),
                }
            }
        };
        debug!(%name, ?target, ?persist, "looked up in DNS");
        DnsFacts { target, persist }
    }

    /// Writes the records that this job has not written yet. All are journaled before any is
    /// written, so that they are removed whatever happens to this process.
    pub(super) async fn add_txt(&self, job: &mut Job, records: BTreeSet<TxtRecord>) {
        let Some(order) = self.order_url(job) else { return };
        let missing: Vec<TxtRecord> =
            records.difference(&job.observed.in_dns.added).cloned().collect();
        // A few at a time: the next step is decided by the grants of then.
        let missing: Vec<TxtRecord> = missing.into_iter().take(limits::PROBES_AT_ONCE).collect();
        if !self.journal_txt(job, &order, &missing).await {
            return;
        }
        let writes = stream::iter(missing).map(|txt| async {
            let written = self.add_one(&txt).await;
            (txt, written)
        });
        let written: Vec<_> = writes.buffer_unordered(limits::DNS_AT_ONCE).collect().await;
        for (txt, written) in written {
            match written {
                Ok(()) => _ = job.observed.in_dns.added.insert(txt),
                // Not tried again within the job: its slot is free meanwhile.
                Err(error) => {
                    job.observed.failure = Some(error.into_failure(FailureClass::Dns));
                }
            }
        }
        job.observed.reset_errors();
        let in_dns = &mut job.observed.in_dns;
        in_dns.added_at = Some(self.context.clock.now());
        (in_dns.looks, in_dns.seen) = (0, false);
    }

    /// Journals records of an order, in one write. Returns whether all are in the journal.
    async fn journal_txt(&self, job: &mut Job, order: &str, records: &[TxtRecord]) -> bool {
        let (ledger, now) = (&self.context.ledger, self.context.clock.now());
        let purpose = (job.stream.clone(), order.to_owned());
        let new: Vec<&TxtRecord> =
            records.iter().filter(|txt| !ledger.txt().has(txt, &purpose)).collect();
        let commits = new.into_iter().map(|txt| {
            let added = TxtAdded { order: order.to_owned(), txt: txt.clone() };
            ledger.commit(&purpose.0, Command::AddTxt(added), now)
        });
        let committed = futures_util::future::join_all(commits).await;
        let mut are_all = true;
        for one in committed {
            are_all &= self.committed(job, AfterRefusal::Fail, one);
        }
        are_all
    }

    /// Writes a record, unless its account has just failed.
    async fn add_one(&self, txt: &TxtRecord) -> Result<(), PortError> {
        let (account, now) = (&txt.account, self.context.clock.now());
        let told =
            |error: PortError| error.about(&format!("DNS account {account}, record {}", txt.name));
        let version = self.context.version_of_account(account);
        if let Some(error) = self.context.dns_pauses.error(&version, txt, now) {
            return Err(told(error));
        }
        self.context.write_txt(TxtWrite::Add, txt).await.map_err(told)
    }

    /// Looks for the records at the authoritative servers.
    pub(super) async fn look_for_txt(&self, job: &mut Job, records: BTreeSet<TxtRecord>) {
        let lookups = Rc::clone(&self.context.dns.lookups);
        let looks = stream::iter(records).map(|txt| {
            let lookups = lookups.clone();
            async move {
                let found = timeout(limits::DNS_LOOK, lookups.has(&txt)).await;
                debug!(name = %txt.name, ?found, "looked for a TXT record");
                matches!(found, Ok(Ok(true)))
            }
        });
        let found: Vec<bool> = looks.buffer_unordered(limits::DNS_AT_ONCE).collect().await;
        job.observed.looked_for_txt(found.into_iter().all(|seen| seen), self.context.clock.now());
    }
}
