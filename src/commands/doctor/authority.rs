//! The CAs of the operator: their directories, our account, and the clock of the first one.

use futures_util::future::join_all;
use ingress_acme_actors::domain::caa::Issuer;
use ingress_acme_actors::domain::doctor::ca::{self, Clocks, Directory, Wishes};
use ingress_acme_actors::domain::doctor::install::Lease;
use ingress_acme_actors::domain::doctor::{Fact, Finding};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{AccountStore, StoredAccount};
use tokio::time::timeout;

use super::cluster::{Cluster, ahead_of_here};
use super::deployment::Setup;
use crate::acme::{Acme, DirectoryLook, thumbprint};
use crate::kubernetes::account_secret::AccountSecret;
use crate::process::assembly::ca_of_a_command;

/// Variable of every pod: this machine is a node of the cluster then.
const IN_POD: &str = "KUBERNETES_SERVICE_HOST";

/// The answers of all CAs; the first one issues.
pub(super) struct Authorities {
    all: Vec<(Wishes, Fact<Directory>)>,
    /// CAA identities of the first one, and our account there.
    issuer: Issuer,
    /// Thumbprint of the account's key.
    pub(super) thumbprint: Option<String>,
    /// Milliseconds by which the clock of the first CA is ahead of that of this machine.
    ahead: Option<i64>,
}

/// Answer of one CA, and its account as far as the user may read its Secret.
struct Asked {
    wishes: Wishes,
    look: Fact<DirectoryLook>,
    ahead: Option<i64>,
    account: Fact<Option<StoredAccount>>,
}

impl Authorities {
    /// Fetches the directories at the same time, and reads the Secrets of the accounts.
    pub(super) async fn ask(cluster: &Cluster, setup: &Setup) -> Self {
        let directories = setup.directories();
        let asked = directories.iter().map(|url| ask(cluster, setup, url));
        let mut asked = join_all(asked).await;
        let first = &asked[0]; // the list of directories begins with the first CA
        let account = first.account.as_ref().ok().and_then(Option::as_ref);
        let identities = first.look.as_ref().map(|look| look.identities.clone());
        Self {
            issuer: Issuer {
                domains: identities.unwrap_or_default(),
                account: account.and_then(|stored| stored.url.clone()),
            },
            thumbprint: account.and_then(|stored| thumbprint(&stored.key).ok()),
            ahead: first.ahead,
            all: asked
                .drain(..)
                .map(|one| (one.wishes, one.look.map(|look| look.directory)))
                .collect(),
        }
    }

    /// One finding for each CA.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.all.iter().map(|(wishes, found)| ca::directory(wishes, found)).collect()
    }

    /// The first CA in terms of CAA records.
    pub(super) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The clocks of the first CA, of the API server and of the leader.
    pub(super) fn clocks(&self, cluster: &Cluster, lease: Option<&Lease>) -> Clocks {
        let renewed = lease.and_then(|lease| lease.renewed).zip(cluster.now());
        let ahead =
            renewed.map(|(renewed, now)| renewed.as_millis().saturating_sub(now.as_millis()));
        Clocks {
            ca: self.ahead,
            api_server: cluster.ahead,
            leader: ahead.filter(|ahead| *ahead > 0),
            is_node: std::env::var_os(IN_POD).is_some(),
        }
    }
}

/// Asks one CA.
async fn ask(cluster: &Cluster, setup: &Setup, url: &str) -> Asked {
    let is_first = url == setup.directory;
    let is_fallback =
        setup.flags.fallback_directory.as_ref().is_some_and(|one| one.as_str() == url);
    let external = [
        is_first && setup.flags.eab_secret.is_some(),
        is_fallback && setup.flags.fallback_eab_secret.is_some(),
    ];
    let made = ca_of_a_command(&cluster.client, &cluster.own, url, setup.acme_ca_file.as_deref());
    let (account, look) = match made {
        Err(error) => (Err("not asked".to_owned()), Err(error.to_string())),
        Ok((account, acme)) => tokio::join!(stored(cluster, &account), look(&acme)),
    };
    let wishes = Wishes {
        url: url.to_owned(),
        profile: setup.flags.serving.profile.clone().filter(|_| is_first),
        has_external_account: external.contains(&true),
        is_registered: account.as_ref().ok().map(|stored| is_registered(stored.as_ref())),
    };
    let ahead = look.as_ref().ok().and_then(|(_, ahead)| *ahead);
    Asked { wishes, look: look.map(|(look, _)| look), ahead, account }
}

fn is_registered(account: Option<&StoredAccount>) -> bool {
    account.is_some_and(|stored| stored.url.is_some())
}

/// The directory, and the CA's clock at that moment.
async fn look(acme: &Acme) -> Fact<(DirectoryLook, Option<i64>)> {
    let look = acme.directory_look().await.map_err(|error| error.to_string())?;
    let ahead = look.sent.map(ahead_of_here);
    Ok((look, ahead))
}

async fn stored(cluster: &Cluster, account: &AccountSecret) -> Fact<Option<StoredAccount>> {
    if cluster.version.is_err() {
        return Err("the API server does not answer".to_owned());
    }
    let loaded = timeout(limits::KUBE_CALL, account.load()).await;
    loaded.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())
}
