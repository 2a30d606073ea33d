//! The two CAs under comparison, each with hosts that answer challenges.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use ingress_acme::dns_and_http::probe::HttpProbe;
use ingress_acme::dns_and_http::solver::{Thumbprint, serve, socket};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::Probe;
use ingress_acme_actors::reporting::metrics::Metrics;
use ingress_acme_control_plane::{
    Operator, OperatorOptions, Options as WorldOptions, World, apply_yaml, eventually, solver_route,
};
use ingress_acme_sim::ca::{Ca, Options};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::dns::Zone;
use ingress_acme_sim::pki::RootCa;

use crate::client::Client;

pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Hosts that answer challenges after a call of [`TestCa::answer`].
pub(crate) const HOSTS: [&str; 2] = ["a.example.com", "b.example.com"];

/// Options of a world whose Pebble refuses one good nonce in a hundred, and not one in twenty: the
/// adapter repeats a request once, and these tests try no call again, as the operator does.
pub(crate) fn options() -> WorldOptions {
    WorldOptions { nonce_reject_percent: Some(1), ..WorldOptions::default() }
}

/// A simulated CA that can be restarted.
pub(crate) struct Simulated {
    ca: Mutex<Option<Ca>>,
    options: Options,
    pub(crate) zone: Zone,
    root_ca: RootCa,
}

impl Simulated {
    pub(crate) fn start(options: Options) -> Self {
        let (zone, root_ca) = (Zone::default(), RootCa::new().unwrap());
        let ca = Ca::start(options.clone(), Clock::default(), zone.clone(), &root_ca).unwrap();
        let options = Options { port: ca.address().port(), ..options };
        Self { ca: Mutex::new(Some(ca)), options, zone, root_ca }
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&Ca) -> T) -> T {
        act(self.ca.lock().unwrap().as_ref().unwrap())
    }

    fn restart(&self) {
        let mut ca = self.ca.lock().unwrap();
        drop(ca.take());
        let (options, zone) = (self.options.clone(), self.zone.clone());
        *ca = Some(Ca::start(options, Clock::default(), zone, &self.root_ca).unwrap());
    }
}

/// Path from the CA to the solver: through the gateway of a world, or direct.
enum Hosts<'a> {
    Gateway(&'a World, Mutex<Option<Box<Operator>>>),
    Solver,
}

/// A CA with its surroundings.
pub(crate) struct TestCa<'a> {
    simulated: Option<Simulated>,
    hosts: Hosts<'a>,
    thumbprint: Thumbprint,
}

impl<'a> TestCa<'a> {
    /// Pebble in a world with a real control plane.
    pub(crate) fn pebble(world: &'a World) -> Self {
        let (hosts, thumbprint) = (Hosts::Gateway(world, Mutex::default()), Thumbprint::default());
        Self { simulated: None, hosts, thumbprint }
    }

    /// The simulated CA in the same surroundings.
    pub(crate) fn simulated_in(world: &'a World) -> Self {
        let options = Options { validation_port: world.gateway_port(), ..Options::default() };
        Self { simulated: Some(Simulated::start(options)), ..Self::pebble(world) }
    }

    /// The simulated CA alone. All hosts lead to one solver, which answers 503 until a call of
    /// [`TestCa::answer`].
    pub(crate) fn simulated() -> TestCa<'static> {
        Self::simulated_with(|_| {})
    }

    /// The simulated CA alone, with changed options.
    pub(crate) fn simulated_with(change: impl FnOnce(&mut Options)) -> TestCa<'static> {
        let thumbprint = Thumbprint::default();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (server, http) =
            serve(socket(anywhere).unwrap(), thumbprint.clone(), &Metrics::default()).unwrap();
        tokio::spawn(server);
        let mut options = Options { validation_port: http.port(), ..Options::default() };
        change(&mut options);
        let simulated = Some(Simulated::start(options));
        TestCa { simulated, hosts: Hosts::Solver, thumbprint }
    }

    pub(crate) fn sim(&self) -> &Simulated {
        self.simulated.as_ref().unwrap()
    }

    fn world(&self) -> &World {
        match &self.hosts {
            Hosts::Gateway(world, _) => world,
            Hosts::Solver => panic!("there is no world around it"),
        }
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    pub(crate) fn name(&self) -> &'static str {
        if self.simulated.is_some() { "the simulated CA" } else { "Pebble" }
    }

    pub(crate) fn directory(&self) -> String {
        match &self.simulated {
            Some(simulated) => simulated.with(Ca::directory_url),
            None => self.world().acme_directory(),
        }
    }

    /// Root of the CA's own TLS certificate, in PEM.
    pub(crate) fn trust(&self) -> String {
        match &self.simulated {
            Some(simulated) => simulated.root_ca.root_pem().to_owned(),
            None => std::fs::read_to_string(self.world().acme_ca_file()).unwrap(),
        }
    }

    /// Root of the certificates issued by the CA, in PEM.
    pub(crate) async fn roots(&self) -> String {
        match &self.simulated {
            Some(simulated) => simulated.with(Ca::root_pem),
            None => self.world().issuing_roots_pem().await.unwrap(),
        }
    }

    /// Root of the alternate chain with this number, in PEM; the simulated CA has only one
    /// alternate.
    pub(crate) async fn alternate_root(&self, number: u32) -> String {
        match &self.simulated {
            Some(simulated) => simulated.with(Ca::other_root_pem),
            None => self.world().root_pem(number).await.unwrap(),
        }
    }

    /// Names of the CA's profiles, sorted.
    pub(crate) fn profiles(&self) -> &'static [&'static str] {
        if self.simulated.is_some() {
            &["classic", "shortlived", "tlsserver"]
        } else {
            &["default"]
        }
    }

    /// Numbers of orders and certificates so far.
    pub(crate) fn counts(&self) -> (usize, usize) {
        match &self.simulated {
            Some(simulated) => {
                let counts = simulated.with(Ca::counts);
                (counts.orders.try_into().unwrap(), counts.certificates.try_into().unwrap())
            }
            None => (self.world().orders_created(), self.world().certificates_issued()),
        }
    }

    /// Restarts the CA, which loses all data.
    pub(crate) async fn restart(&self) {
        match &self.simulated {
            Some(simulated) => simulated.restart(),
            None => self.world().restart_ca().await.unwrap(),
        }
    }

    /// Callback that adds a thumbprint to the solver's answers; useful after a call of
    /// [`TestCa::answer`].
    pub(crate) fn answering(&self) -> impl Fn(String) + 'static {
        let thumbprint = self.thumbprint.clone();
        move |new| thumbprint.set(new)
    }

    /// Makes [`HOSTS`] answer challenges with this thumbprint.
    pub(crate) async fn answer(&self, thumbprint: String) {
        self.thumbprint.set(thumbprint);
        let Hosts::Gateway(world, operator) = &self.hosts else { return };
        if operator.lock().unwrap().is_some() {
            return;
        }
        // The process ends at once; only the registration of its solver address matters.
        let started = world.spawn_operator(OperatorOptions::new("true")).unwrap();
        let address = started.solver_address();
        let (server, _) =
            serve(socket(address).unwrap(), self.thumbprint.clone(), &Metrics::default()).unwrap();
        tokio::spawn(server);
        *operator.lock().unwrap() = Some(Box::new(started));
        apply_yaml(&world.admin(), &solver_route(&HOSTS)).await.unwrap();
        let (nameserver, port) = (Some(world.nameserver()), world.gateway_port());
        let probe = HttpProbe::new(nameserver, port, self.thumbprint.clone()).unwrap();
        for host in HOSTS {
            let host = DnsName::parse(host).unwrap();
            eventually(SOON, "the route to the solver", async || {
                probe.probe(&host).await.is_reached().then_some(())
            })
            .await;
        }
    }

    /// Adds a TXT record beside others of the name.
    pub(crate) async fn add_txt(&self, name: &str, value: &str) {
        match &self.simulated {
            Some(simulated) => simulated.zone.add_txt(name, value),
            None => self.world().add_txt(name, value).await.unwrap(),
        }
    }

    /// Removes all TXT records of the name.
    pub(crate) async fn clear_txt(&self, name: &str) {
        match &self.simulated {
            Some(simulated) => {
                for value in simulated.zone.txt(name).unwrap() {
                    simulated.zone.remove_txt(name, &value);
                }
            }
            None => self.world().clear_txt(name).await.unwrap(),
        }
    }

    /// Sets the CNAME record of the name.
    pub(crate) async fn set_alias(&self, name: &str, target: &str) {
        match &self.simulated {
            Some(simulated) => simulated.zone.set_alias(name, Some(target)),
            None => self.world().set_alias(name, target).await.unwrap(),
        }
    }

    /// Creates a client with a new key.
    pub(crate) async fn client(&self) -> Client {
        Client::new(&self.directory(), &self.trust()).await
    }

    /// Creates a client with a new account.
    pub(crate) async fn account(&self) -> Client {
        Client::registered(&self.directory(), &self.trust()).await
    }
}
