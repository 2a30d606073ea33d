//! The throw-away CA that signs every server's TLS certificate of one world.
//!
//! Not to be mixed up with the CA that Pebble plays: that one makes its own
//! keys, and signs what the operator orders.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::error::StartError;

/// A root of its own for each world.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

/// A leaf certificate with its key, both PEM.
pub(crate) struct Leaf {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Authority {
    /// Makes a new root.
    pub(crate) fn new() -> Result<Self, StartError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "ingress-acme control plane");
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem })
    }

    /// The root's certificate.
    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A server certificate for `localhost` and `127.0.0.1`; a leaf, because
    /// rustls refuses a self-signed certificate as a server's.
    pub(crate) fn leaf(&self, common_name: &str) -> Result<Leaf, StartError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()])?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}
