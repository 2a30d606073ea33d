//! Kubernetes Events, the status of a certificate and its history, and whether it is ready in time.

pub mod certificate_status;
pub mod history;
pub mod kube_event;
pub mod readiness;
pub mod repeats;
