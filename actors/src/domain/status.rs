//! Texts for users: Kubernetes Events, and the status of a certificate.

pub mod certificate_status;
pub mod kube_event;
