//! DNS accounts as far as a user may read them: they decide which wildcards are proved.

use ingress_acme_actors::domain::dns::account::{DnsAccount, DnsAccounts};
use ingress_acme_actors::domain::dns::account_secret::{self, LABEL};
use ingress_acme_actors::domain::limits;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::dns_providers::catalog;
use crate::kubernetes::client::detail;

/// Reads the accounts of the operator's `namespace`. Credentials are not looked at, and a Secret
/// that is no account is left out, as by the operator.
///
/// # Errors
/// A note for the plan, which is then made without accounts.
pub(super) async fn dns_accounts(client: &Client, namespace: &str) -> Result<DnsAccounts, String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let most = u32::try_from(limits::DNS_ACCOUNTS).unwrap_or(u32::MAX);
    let ours = ListParams::default().labels(&format!("{LABEL}=true")).limit(most);
    let listed = secrets.list(&ours).await.map_err(|error| {
        let why = match &error {
            kube::Error::Api(status) if status.code == 403 => "may not be read by you".to_owned(),
            other => format!("cannot be read ({})", detail(other)),
        };
        format!(
            "DNS accounts of namespace {namespace} {why}, so wildcards seem to be proved by none. The operator reads them"
        )
    })?;
    Ok(DnsAccounts::new(listed.items.iter().filter_map(account).collect()))
}

fn account(secret: &Secret) -> Option<DnsAccount> {
    let data = secret.data.iter().flatten();
    let data = data.map(|(key, value)| (key.as_str(), value.0.as_slice()));
    let data = account_secret::text(data).ok()?;
    let name = secret.metadata.name.as_deref()?;
    let version = secret.metadata.resource_version.as_deref().unwrap_or_default();
    let account = account_secret::account(name, version, &data).ok()?;
    catalog::find(&account.provider).is_some().then_some(account)
}
