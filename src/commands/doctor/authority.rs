//! The CAs of the operator: their directories, our account, and their clocks.

use futures_util::future::join_all;
use ingress_acme_actors::domain::caa::Issuer;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::doctor::ca::{self, Account, Clocks, Directory, Wishes};
use ingress_acme_actors::domain::doctor::install::Lease;
use ingress_acme_actors::domain::doctor::{Fact, Finding};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{AccountStore, StoredAccount};
use tokio::time::timeout;

use super::cluster::{Cluster, ahead_of_here};
use super::deployment::Setup;
use crate::acme::{Acme, DirectoryLook, thumbprint};
use crate::process::assembly::ca_of_a_command;
use crate::process::ca_sets::CasOfCommand;

/// Variable of every pod: this machine is a node of the cluster then.
const IN_POD: &str = "KUBERNETES_SERVICE_HOST";

/// The answers of all CAs; the first one issues where no file says otherwise.
pub(super) struct Authorities {
    all: Vec<Asked>,
    /// Why the file of the CAs cannot be read.
    unread: Option<String>,
    /// Thumbprint of the account's key.
    pub(super) thumbprint: Option<String>,
}

/// Answer of one CA.
struct Asked {
    wishes: Wishes,
    look: Fact<Directory>,
    /// CAA identities, and our account.
    issuer: Issuer,
    /// Milliseconds by which its clock is ahead of that of this machine.
    ahead: Option<i64>,
}

/// A CA before it is asked.
struct ToAsk {
    wishes: Wishes,
    acme: Result<Acme, String>,
    /// URL of our account, as far as it is stored.
    account: Option<String>,
}

impl Authorities {
    /// Fetches the directories at the same time, after a look at the Secrets of the accounts.
    pub(super) async fn ask(cluster: &Cluster, setup: &Setup) -> Self {
        let (key, all, unread) = match &setup.cas {
            None => {
                let directories = setup.directories();
                let all = directories.iter().map(|url| of_flags(cluster, setup, url));
                let (mut keys, all): (Vec<_>, _) = join_all(all).await.into_iter().unzip();
                (keys.swap_remove(0), all, None) // the list begins with the first CA
            }
            Some(Ok(cas)) => match CasOfCommand::of(&cluster.client, &cluster.own, cas) {
                Ok(cas) => {
                    let (key, all) = of_file(cluster, cas).await;
                    (key, all, None)
                }
                Err(error) => (None, Vec::new(), Some(format!("{error:#}"))),
            },
            Some(Err(why)) => (None, Vec::new(), Some(why.clone())),
        };
        let thumbprint = key.and_then(|key| thumbprint(&key).ok());
        let all = join_all(all.into_iter().map(ask)).await;
        Self { all, unread, thumbprint }
    }

    /// One finding for each CA.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let unread = self.unread.iter().map(|why| ca::unread_file(why));
        let all = self.all.iter().map(|one| ca::directory(&one.wishes, &one.look));
        unread.chain(all).collect()
    }

    /// The CAs of a file by name, or the first CA of the flags, in terms of CAA records.
    pub(super) fn issuers(&self) -> Vec<(Option<&str>, &Issuer)> {
        let is_file = self.all.iter().any(|one| one.wishes.name.is_some());
        let number = if is_file { self.all.len() } else { 1 };
        let all = self.all.iter().take(number);
        all.map(|one| (one.wishes.name.as_deref(), &one.issuer)).collect()
    }

    /// The clocks of each CA of a file, or of the first CA of the flags, with those of the API
    /// server and of the leader.
    pub(super) fn clocks(&self, cluster: &Cluster, lease: Option<&Lease>) -> Vec<Clocks> {
        let renewed = lease.and_then(|lease| lease.renewed).zip(cluster.now());
        let ahead =
            renewed.map(|(renewed, now)| renewed.as_millis().saturating_sub(now.as_millis()));
        let beside = Clocks {
            name: None,
            ca: None,
            api_server: cluster.ahead,
            leader: ahead.filter(|ahead| *ahead > 0),
            is_node: std::env::var_os(IN_POD).is_some(),
        };
        if self.all.is_empty() {
            return vec![beside];
        }
        let of = self.all.iter().take(self.issuers().len());
        let of =
            of.map(|one| Clocks { name: one.wishes.name.clone(), ca: one.ahead, ..beside.clone() });
        of.collect()
    }
}

/// Asks one CA.
async fn ask(ToAsk { wishes, acme, account }: ToAsk) -> Asked {
    let look = match acme {
        Ok(acme) => look(&acme).await,
        Err(why) => Err(why),
    };
    let ahead = look.as_ref().ok().and_then(|(_, ahead)| *ahead);
    let identities = look.as_ref().map(|(look, _)| look.identities.clone());
    let issuer = Issuer { domains: identities.unwrap_or_default(), account };
    Asked { wishes, look: look.map(|(look, _)| look.directory), issuer, ahead }
}

/// A CA of the flags, and its account's key.
async fn of_flags(cluster: &Cluster, setup: &Setup, url: &str) -> (Option<PrivateKey>, ToAsk) {
    let is_first = url == setup.directory;
    let is_fallback =
        setup.flags.fallback_directory.as_ref().is_some_and(|one| one.as_str() == url);
    let external = [
        is_first && setup.flags.eab_secret.is_some(),
        is_fallback && setup.flags.fallback_eab_secret.is_some(),
    ];
    let made = ca_of_a_command(&cluster.client, &cluster.own, url, setup.acme_ca_file.as_deref());
    let (stored, acme) = match made {
        Err(error) => (Err("not asked".to_owned()), Err(error.to_string())),
        Ok((account, acme)) => (stored(cluster, &*account).await, Ok(acme)),
    };
    let wishes = Wishes {
        name: None,
        url: url.to_owned(),
        profile: setup.flags.serving.profile.clone().filter(|_| is_first),
        has_external_account: external.contains(&true),
        account: match &stored {
            Ok(Some(StoredAccount { url: Some(_), .. })) => Account::Registered,
            Ok(_) => Account::None,
            Err(_) => Account::Unread,
        },
    };
    let stored = stored.ok().flatten();
    let account = stored.as_ref().and_then(|stored| stored.url.clone());
    (stored.map(|stored| stored.key), ToAsk { wishes, acme, account })
}

/// The CAs of a file, and the key that they share.
async fn of_file(cluster: &Cluster, cas: CasOfCommand) -> (Option<PrivateKey>, Vec<ToAsk>) {
    let stored = stored(cluster, &*cas.key).await;
    let account = match &stored {
        Ok(Some(_)) => Account::SharedKey,
        Ok(None) => Account::None,
        Err(_) => Account::Unread,
    };
    let all = cas.all.into_iter().map(|(ca, acme)| {
        let wishes = Wishes {
            name: Some(ca.name),
            url: ca.directory,
            profile: ca.profile,
            has_external_account: ca.external_account.is_some(),
            account,
        };
        ToAsk { wishes, acme: Ok(acme), account: None }
    });
    (stored.ok().flatten().map(|stored| stored.key), all.collect())
}

/// The directory, and the CA's clock at that moment.
async fn look(acme: &Acme) -> Fact<(DirectoryLook, Option<i64>)> {
    let look = acme.directory_look().await.map_err(|error| error.to_string())?;
    let ahead = look.sent.map(ahead_of_here);
    Ok((look, ahead))
}

async fn stored(cluster: &Cluster, account: &dyn AccountStore) -> Fact<Option<StoredAccount>> {
    if cluster.version.is_err() {
        return Err("the API server does not answer".to_owned());
    }
    let loaded = timeout(limits::KUBE_CALL, account.load()).await;
    loaded.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())
}
