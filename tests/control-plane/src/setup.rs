//! Setup of a world: binaries, directory, root CA and HTTP client, before the first server starts.

use std::path::PathBuf;

use ingress_acme_sim::pki::{self, RootCa};

use crate::binaries::Binaries;
use crate::directory::{self, Directory};
use crate::error::StartError;
use crate::ports::Port;

/// Everything made before the first server starts.
pub(crate) struct Setup {
    pub(crate) binaries: Binaries,
    /// CA that signs the TLS certificates of all servers.
    pub(crate) root_ca: RootCa,
    /// Root of that CA, for clients.
    pub(crate) root_file: PathBuf,
    /// HTTP client for management ports, which trusts only this world's root.
    pub(crate) http: reqwest::Client,
    pub(crate) directory: Directory,
}

impl Setup {
    pub(crate) async fn prepare() -> Result<Self, StartError> {
        pki::choose_provider();
        let binaries = tokio::task::spawn_blocking(Binaries::ensure)
            .await
            .map_err(|error| StartError::io("check the binaries")(error.into()))??;
        let directory = Directory::create()?;
        let root_ca = RootCa::new()?;
        let root_file = directory.write("root.pem", root_ca.root_pem())?;
        let http = http_client(&root_ca)?;
        Ok(Self { binaries, root_ca, root_file, http, directory })
    }
}

/// Reserves a port that no world of this checkout uses.
pub(crate) fn reserve() -> Result<Port, StartError> {
    Port::reserve(&directory::shared().join("ports"))
}

/// HTTP client that trusts only this world's servers and never uses a proxy.
fn http_client(root_ca: &RootCa) -> Result<reqwest::Client, StartError> {
    let root = reqwest::Certificate::from_pem(root_ca.root_pem().as_bytes())?;
    // Pebble refuses requests without a User-Agent (RFC 8555 §6.1).
    let client = reqwest::Client::builder().user_agent(env!("CARGO_PKG_NAME")).no_proxy();
    Ok(client.tls_certs_only([root]).build()?)
}
