//! The throw-away CA that signs every server's TLS certificate of one world.
//!
//! Not to be mixed up with the ACME CA of that world: that one makes its own keys, and signs what the operator
//! orders.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::SimError;

/// Makes the workspace's cryptography provider the default of the process, unless there is one already: the HTTP
/// clients need it. Which one it is, the features in the workspace's Cargo.toml say, and only they: asking rustls for any
/// configuration installs the one it was built with.
pub fn choose_provider() {
    drop(rustls::ClientConfig::builder());
}

/// A root of its own for each world.
pub struct RootCa {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

/// A leaf certificate with its key.
pub struct Leaf {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PKCS #8 in PEM.
    pub key_pem: String,
}

impl RootCa {
    /// Makes a new root.
    pub fn new() -> Result<Self, SimError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "ingress-acme test servers");
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem })
    }

    /// The root's certificate, PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A server certificate for `localhost` and `127.0.0.1`; a leaf, because
    /// rustls refuses a self-signed certificate as a server's.
    pub fn leaf(&self, common_name: &str) -> Result<Leaf, SimError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()])?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
    /// TLS for a server, with a leaf of its own.
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
