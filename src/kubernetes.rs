//! Kubernetes: the API client and one adapter per resource.

pub mod account_secret;
pub mod api_groups;
pub mod client;
pub mod events;
pub mod ingress_classes;
pub mod ingresses;
pub mod journal_segments;
pub mod lease;
pub mod secret_watch;
pub mod solver_ingresses;
pub mod tls_secrets;
