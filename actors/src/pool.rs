//! The issuer pool: schedules jobs, runs their steps in issuer actors, and answers the dedup
//! actors.
//!
//! # Layout
//! - `actor`: the pool; `issuer`: a worker of the pool.
//! - `job_runner`: the loop from one step of a job to the next; `steps`: commits and errors that
//!   all steps share.
//! - `rehearsal`: validation at another CA before the first one is asked again.
//! - `spans`: what logs and traces say about a job.
//! - `known_classes`: which controller serves which Ingress.
//! - `ca_steps`: steps at the CA; `cluster_steps`: steps at the API server and at the hosts;
//!   `dns_steps`: steps in DNS.

pub mod actor;
mod ca_steps;
mod caa_step;
mod cluster_steps;
mod dns_steps;
mod host_check;
pub mod issuer;
pub mod job_runner;
pub(crate) mod known_classes;
mod rehearsal;
mod spans;
mod steps;
