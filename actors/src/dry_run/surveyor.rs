//! Surveyor: takes the requests of the dedup actors in place of the pool, and tells the plan
//! for each Secret. The rules and the words are those of `ingress-acme plan`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use actix::prelude::*;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::context::OperatorContext;
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressKey, IngressView, SecretKey};
use crate::domain::issuance::{Outlook, outlook};
use crate::domain::limits;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::status::kube_event::KubeEvent;
use crate::host_holders::HostHolders;
use crate::messages::Reconcile;
use crate::ports::bounded;
use crate::secret_choice::choose_secret;

/// Actor that surveys Ingresses.
pub(crate) struct Surveyor {
    survey: Rc<Survey>,
}

struct Survey {
    context: Rc<OperatorContext>,
    /// Bounds the number of Secrets that are read at once.
    reads: Semaphore,
    /// Plan for each Secret, with the hash of the last Event for each of its Ingresses.
    plans: RefCell<HashMap<SecretKey, Plan>>,
}

#[derive(Default)]
struct Plan {
    label: &'static str,
    told: HashMap<IngressKey, u64>,
}

impl Surveyor {
    /// Creates the surveyor with nothing surveyed yet.
    pub(crate) fn new(context: Rc<OperatorContext>) -> Self {
        let reads = Semaphore::new(limits::SCAN_AT_ONCE);
        let survey = Survey { context, reads, plans: RefCell::default() };
        Self { survey: Rc::new(survey) }
    }
}

impl Survey {
    async fn take(&self, ingress: &IngressKey) -> Requeue {
        let context = &self.context;
        let Ok(_one_of_few) = self.reads.acquire().await else { return Requeue::Busy };
        if let Err(requeue) = choose_secret(context, ingress).await {
            return requeue;
        }
        let now = context.clock.now();
        context.index.borrow_mut().forget_stale_hosts(ingress, now);
        let secrets = context.index.borrow().secrets(ingress);
        for secret in &secrets {
            if let Err(why) = self.take_secret(ingress, secret).await {
                warn!(%secret, why, retry_in = ?limits::BUSY_RETRY, "a Secret cannot be surveyed");
                return Requeue::At(context.clock.now() + limits::BUSY_RETRY);
            }
        }
        context.events.report(&context.index.borrow(), ingress);
        Requeue::AwaitChange
    }

    async fn take_secret(&self, ingress: &IngressKey, secret: &SecretKey) -> Result<(), String> {
        let context = &self.context;
        self.decide_hosts(secret).await?;
        let Some(desired) = context.desired(secret).filter(|one| !one.names.is_empty()) else {
            return Ok(());
        };
        let read = context.tls_secrets.read(secret);
        let read = bounded(limits::KUBE_CALL, "API server", read).await;
        let found = read.map_err(|error| error.to_string())?;
        context.record_secret(secret, found.as_ref());
        let (set, now) = (context.cas.set(), context.clock.now());
        let directory = &*set.deciding(None, Some(&desired), found.as_ref()).ca.directory;
        let outlook = outlook(
            &desired,
            found.clone(),
            (directory, set.cas.reissues_now()),
            &context.install_id,
            now,
        );
        let kube_event = KubeEvent::planned(&desired, &outlook, found.as_ref(), ingress);
        let is_good = outlook == Outlook::Kept && found.is_some_and(|found| found.ours);
        let is_quiet = is_good && !desired.fill.keys().any(|one| one.key == *ingress);
        self.tell(ingress, secret, (outlook.label(), is_quiet), kube_event);
        Ok(())
    }

    /// Finds out which namespace has the hosts that several name.
    async fn decide_hosts(&self, secret: &SecretKey) -> Result<(), String> {
        let context = &self.context;
        let (index, tls_secrets) = (&*context.index, &*context.tls_secrets);
        let holders = HostHolders { index, tls_secrets, clock: &*context.clock };
        let decided = holders.decide(secret).await;
        decided.map_err(|unread| {
            format!("Secret {unread} could not be read, which shows whose a host is")
        })
    }

    /// Records an Event, once for each text. One that says that nothing would be done is for an
    /// Ingress of which another one was recorded.
    fn tell(
        &self,
        ingress: &IngressKey,
        secret: &SecretKey,
        (label, is_quiet): (&'static str, bool),
        kube_event: KubeEvent,
    ) {
        let about = self.context.index.borrow().view(ingress).map(IngressView::reference);
        let Some(about) = about else { return };
        let mut plans = self.plans.borrow_mut();
        let plan = plans.entry(secret.clone()).or_default();
        plan.label = label;
        if is_quiet && !plan.told.contains_key(ingress) {
            return;
        }
        let hash = stable_hash(&kube_event);
        let is_news = plan.told.insert(ingress.clone(), hash) != Some(hash);
        drop(plans);
        if is_news {
            self.context.events.record_on(&about, kube_event);
        }
    }

    /// Forgets the Secrets that no Ingress names any more, and updates the metric.
    fn count(&self) {
        let mut counts = Outlook::LABELS.map(|label| (label, 0_usize));
        let index = self.context.index.borrow();
        self.plans.borrow_mut().retain(|secret, plan| {
            plan.told.retain(|ingress, _| index.view(ingress).is_some());
            let is_wanted = index.is_wanted(secret);
            let count = counts.iter_mut().find(|(label, _)| *label == plan.label);
            if let Some((_, count)) = count.filter(|_| is_wanted) {
                *count += 1;
            }
            is_wanted
        });
        self.context.metrics.dry_run(&counts);
    }
}

impl Actor for Surveyor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.survey.count();
        ctx.run_interval(limits::READY_LOOK, |surveyor, _| surveyor.survey.count());
    }
}

impl Handler<Reconcile> for Surveyor {
    type Result = ResponseFuture<Requeue>;

    fn handle(&mut self, Reconcile(key, _): Reconcile, _: &mut Context<Self>) -> Self::Result {
        let survey = self.survey.clone();
        Box::pin(async move {
            match key {
                ReconcileKey::Ingress(ingress) => survey.take(&ingress).await,
                ReconcileKey::Orphan(_) => Requeue::AwaitChange,
            }
        })
    }
}
