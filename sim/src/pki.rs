//! Throw-away CA that signs the TLS certificates of all servers in one world.
//!
//! This CA is separate from the ACME CA of the world, which has its own keys and signs the
//! certificates ordered by the operator.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::SimError;

/// Installs the cryptography provider of the workspace as the process default, unless one is
/// installed. The HTTP clients need a default. Only the features in the workspace's Cargo.toml
/// select the provider: building any rustls configuration installs the one compiled in.
pub fn choose_provider() {
    drop(rustls::ClientConfig::builder());
}

/// Name of the servers that only DNS resolves, unlike `localhost`.
pub const SERVER_NAME: &str = "servers.example.internal";

/// Root CA of one world.
pub struct RootCa {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

/// A leaf certificate with its key.
pub struct Leaf {
    /// Certificate, PEM.
    pub certificate_pem: String,
    /// Private key, PKCS #8 in PEM.
    pub key_pem: String,
}

impl RootCa {
    /// Creates a new root.
    pub fn new() -> Result<Self, SimError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "ingress-acme test servers");
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem })
    }

    /// Certificate of the root, PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Creates a server certificate for [`SERVER_NAME`], `localhost` and `127.0.0.1`. The
    /// certificate is a leaf, because rustls refuses a self-signed server certificate.
    pub fn leaf(&self, common_name: &str) -> Result<Leaf, SimError> {
        let key = KeyPair::generate()?;
        let names = [SERVER_NAME, "localhost", "127.0.0.1"];
        let mut params = CertificateParams::new(names.map(str::to_owned))?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
    /// Creates the TLS configuration of a server, with a new leaf.
    pub fn server(&self, common_name: &str) -> Result<rustls::ServerConfig, SimError> {
        let leaf = self.leaf(common_name)?;
        let unreadable =
            |_| rustls::Error::General("a certificate of our own is unreadable".into());
        let certificate = CertificateDer::from_pem_slice(leaf.certificate_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.map_err(unreadable)?], key.map_err(unreadable)?)?;
        Ok(config)
    }
}
