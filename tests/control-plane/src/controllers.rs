//! Real ingress controllers on the address of a network namespace, in place of the simulated
//! gateway: Traefik, and Contour with Envoy.

mod contour;
mod traefik;

use std::path::Path;
use std::time::Duration;

use crate::error::StartError;
use crate::ports::Port;
use crate::process::Process;
use crate::setup::Setup;

/// Deadline of readiness on a slow machine under load.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Timeout of one readiness request.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A running ingress controller; ended on drop.
pub struct Controller {
    /// Fields drop from top to bottom, and processes from the first on: users before the parts
    /// that they use.
    processes: Vec<Process>,
    _ports: Vec<Port>,
}

impl Controller {
    /// Process IDs.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
}

/// What a controller needs of its world.
pub(crate) struct ControllerEnvironment<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) admin: &'a kube::Client,
    pub(crate) kubeconfig: &'a Path,
    /// Number of the controller, unique in the world.
    pub(crate) number: u32,
}

impl ControllerEnvironment<'_> {
    /// Starts Traefik; see [`World::start_traefik`](crate::World::start_traefik).
    pub(crate) async fn traefik(&self, args: &[String]) -> Result<Controller, StartError> {
        traefik::start(self, args).await
    }

    /// Starts Contour and Envoy; see [`World::start_contour`](crate::World::start_contour).
    pub(crate) async fn contour(&self) -> Result<Controller, StartError> {
        contour::start(self).await
    }

    /// Waits until a URL answers 200.
    async fn answers(&self, process: &Process, url: &str) -> Result<(), StartError> {
        let is_ready = async || {
            let answer = self.setup.http.get(url).timeout(ANSWERS_WITHIN).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        process.readiness().wait(READY_WITHIN, is_ready).await
    }
}
