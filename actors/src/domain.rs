//! Pure rules: no runtime, no clock, no randomness. Whatever they need to know is an argument.
//!
//! - Vocabulary: [`time`], [`name`], [`ingress`], [`certificate`], [`limits`].
//! - From Ingresses to certificates: [`selection`], [`plan`], [`grouping`], [`desired`], [`index`].
//! - Is a certificate good: [`validity`].
//! - From events to work: [`dedup`], [`need`], [`queue`], [`scheduler`], [`scan`].
//! - Getting a certificate: [`issuance`], [`failure`], [`rate_limits`], [`guards`], [`renewal`], [`routes`], its log: [`log`], and what of it still matters: [`live`].
//! - What the user is told: [`kube_event`]; what is shown: [`expiries`], [`certificate_status`].

pub mod certificate;
pub mod certificate_status;
pub mod dedup;
pub mod desired;
pub mod expiries;
pub mod failure;
pub mod grouping;
pub mod guards;
pub mod index;
pub mod ingress;
pub mod issuance;
pub mod kube_event;
pub mod limits;
pub mod live;
pub mod log;
pub mod name;
pub mod need;
pub mod plan;
pub mod queue;
pub mod rate_limits;
pub mod renewal;
pub mod requeue;
pub mod routes;
pub mod scan;
pub mod scheduler;
pub mod selection;
pub mod time;
pub mod validity;
