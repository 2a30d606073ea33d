//! Connection to the Kubernetes API server, with the parts that its adapters share: the marks on
//! our objects and the classification of errors.
//!
//! The adapter and its caller decide the purpose and the deadline of a request.

mod marks;
mod read_only;
mod refusal;
mod requests;
pub(crate) mod scope_watch;

use std::fmt::Debug;
use std::path::PathBuf;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Uri};
use ingress_acme_actors::domain::limits;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PostParams};
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Request;
use kube::{Api, Client, Config, Resource};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

pub use marks::{
    CLASS_ANNOTATION, FIELD_MANAGER, IN_PLACE_ANNOTATION, IN_PLACE_MANAGER, INSTALL_ANNOTATION,
    MANAGED_BY, MANAGED_BY_LABEL, MINION, class, install_of, is_ours, our_label,
};
pub use read_only::read_only;
pub use refusal::{detail, port_error, refuses_owners};
pub use requests::{KubeRequestHook, counted, is_too_large};

/// Lifetime of a watch in seconds. The API server then ends the watch, and the watcher resumes at
/// the same position. A connection that died silently is noticed 5 s later.
pub const WATCH_SECONDS: u32 = 60;

/// Reason why no client could be created.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a pod's service account was found.
    #[error(
        "no cluster is configured: {}. Set KUBECONFIG to a readable kubeconfig, or run in a pod with a service account",
        detail(.0)
    )]
    NoCluster(Box<InferConfigError>),
    /// The configuration was found, but no client can be created from it.
    #[error(
        "the cluster's configuration cannot be used: {}. Check its certificates, its credentials and, if one is set, \
         the proxy-url of the kubeconfig (the API server is asked directly only)",
        detail(.0)
    )]
    Unusable(Box<kube::Error>),
    /// The kubeconfig or the context that a flag names cannot be used.
    #[error("the kubeconfig cannot be used: {}", detail(.0))]
    Kubeconfig(Box<KubeconfigError>),
}

/// Creates a client for the cluster named by `KUBECONFIG`, `~/.kube/config` or the pod's service
/// account, in this order.
///
/// Sends no request yet. Requests use HTTP/1.1, the only version that kube's client offers. There
/// is one connection per concurrent request, and no client-side throttling.
pub async fn connect() -> Result<Client, ConnectError> {
    let config = Config::infer().await.map_err(|error| ConnectError::NoCluster(error.into()))?;
    client(config)
}

/// Kubeconfig and context that the flags of a command name.
#[derive(Clone, Debug, Default)]
pub struct KubeconfigChoice {
    /// `--kubeconfig`: this file alone is read.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`: over the current context of the kubeconfig.
    pub context: Option<String>,
}

/// Creates a client for the cluster that `choice` names, with the precedence of kubectl. Without a
/// choice, the cluster is that of [`connect`]; a context is never that of a pod's service account.
pub async fn connect_to(choice: &KubeconfigChoice) -> Result<Client, ConnectError> {
    let KubeconfigChoice { kubeconfig, context } = choice.clone();
    let named = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = match kubeconfig.map(Kubeconfig::read_from) {
        None if named.context.is_none() => return connect().await,
        None => Config::from_kubeconfig(&named).await,
        Some(Ok(file)) => Config::from_custom_kubeconfig(file, &named).await,
        Some(Err(error)) => Err(error),
    };
    client(config.map_err(|error| ConnectError::Kubeconfig(error.into()))?)
}

/// Creates a client for `config` with our header and deadlines.
pub fn client(config: Config) -> Result<Client, ConnectError> {
    Client::try_from(ours(config)).map_err(|error| ConnectError::Unusable(error.into()))
}

/// Media type of an object of which only the metadata is asked for (Kubernetes API concepts,
/// "Metadata-only fetches").
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Creates an object whose stored form nobody reads: the API server answers with its metadata only.
pub async fn create<K>(api: &Api<K>, object: &K) -> Result<(), kube::Error>
where
    K: Clone + Resource + Serialize,
{
    let params =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let object = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = Request::new(api.resource_url()).create(&params, object);
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA));
    api.clone().into_client().request::<IgnoredAny>(request).await.map(drop)
}

/// Finds an object by its name, for whom the rights are to list and not to get.
pub async fn find<K>(api: &Api<K>, name: &str) -> Result<Option<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let named = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
    Ok(api.list(&named).await?.items.into_iter().next())
}

/// Reads all objects of a list, page by page.
pub async fn list_all<K>(api: &Api<K>, mut params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Reads the metadata of all objects of a list, page by page, without `managedFields`, which are
/// long.
pub async fn list_all_metadata<K>(
    api: &Api<K>,
    mut params: ListParams,
) -> Result<Vec<ObjectMeta>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut all = Vec::new();
    loop {
        let page = api.list_metadata(&params).await?;
        let metadata = page.items.into_iter().map(|object| object.metadata);
        all.extend(metadata.map(|metadata| ObjectMeta { managed_fields: None, ..metadata }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Variables that kube reads a proxy from, for a kubeconfig without one. They mean the way to the
/// CA: the API server is always asked directly, as if `NO_PROXY` had it.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];

fn ours(mut config: Config) -> Config {
    let set = PROXIES.iter().filter_map(|name| std::env::var(name).ok()?.parse().ok());
    config.proxy_url = without(config.proxy_url, set);
    config.headers.push((USER_AGENT, HeaderValue::from_static(crate::USER_AGENT)));
    config.connect_timeout = Some(limits::KUBE_CONNECT);
    config.read_timeout = Some(limits::KUBE_SILENCE);
    // Time that a pooled connection spent idle does not count as silence.
    config.reset_reader_on_write = true;
    // The caller alone decides about retries, since only the caller knows when to give up.
    config.default_retry = false;
    config
}

/// The proxy of a kubeconfig: one of the environment is none.
fn without(proxy: Option<Uri>, environment: impl IntoIterator<Item = Uri>) -> Option<Uri> {
    let of_environment: Vec<Uri> = environment.into_iter().collect();
    proxy.filter(|proxy| !of_environment.contains(proxy))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_request_carries_our_user_agent_and_a_refusal_is_not_retried() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let client = client(Config::new(url.parse().unwrap())).unwrap();
        let asking = tokio::spawn(async move { client.apiserver_version().await });
        let (mut connection, _) = server.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = connection.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
        let header = format!("user-agent: {}\r\n", crate::USER_AGENT);
        assert_eq!(request.matches("user-agent:").count(), 1, "{request}");
        assert!(request.contains(&header), "{request}");
        let busy = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n";
        connection.write_all(busy.as_bytes()).await.unwrap();
        assert!(asking.await.unwrap().is_err());
    }

    #[test]
    fn a_proxy_of_the_environment_is_not_for_the_api_server_and_one_of_the_kubeconfig_is_refused() {
        let [of_environment, of_kubeconfig] =
            ["http://proxy:3128", "http://bastion:8888"].map(|url| url.parse::<Uri>().unwrap());
        let left = |proxy: &Uri| without(Some(proxy.clone()), [of_environment.clone()]);
        assert_eq!(left(&of_environment), None);
        assert_eq!(left(&of_kubeconfig), Some(of_kubeconfig.clone()));
        assert_eq!(without(None, [of_environment.clone()]), None);
    }

    #[test]
    fn a_watch_without_news_ends_before_the_silence_counts_as_a_dead_connection() {
        assert!(
            limits::KUBE_SILENCE > std::time::Duration::from_secs(u64::from(WATCH_SECONDS) + 5)
        );
    }
}
