//! A CA that is reachable through a forward proxy only, as `HTTPS_PROXY` says: tinyproxy, if there
//! is one. The API server, the probe and DNS never go through it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use ingress_acme_control_plane::{OperatorOptions, World, eventually, retry_when_wedged};
use ingress_acme_sim::free_address;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::alone;
use crate::sites::{PATIENCE, Site, certificate, namespace};

/// A running tinyproxy.
struct Proxy {
    address: SocketAddr,
    log: PathBuf,
    /// Killed on drop.
    _process: Child,
}

impl Proxy {
    /// Starts a proxy for any port; `None` where tinyproxy is not installed.
    async fn start(world: &World) -> Option<Self> {
        let address = free_address().expect("a free port");
        let file = |name: &str| world.directory().join(name);
        let (config, log) = (file("tinyproxy.conf"), file("tinyproxy.log"));
        let lines = format!(
            "Port {}\nListen {}\nAllow 127.0.0.1\nLogFile \"{}\"\nLogLevel Connect\n",
            address.port(),
            address.ip(),
            log.display()
        );
        fs::write(&config, lines).expect("the configuration");
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(config).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().ok()?;
        eventually(PATIENCE, "the proxy listens", async || TcpStream::connect(address).await.ok())
            .await;
        Some(Self { address, log, _process: process })
    }

    /// Targets of all requests, as `HOST:PORT` of a tunnel or as a URL.
    fn targets(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).expect("the log");
        let requests = log.lines().filter_map(|line| line.split_once("Request (file descriptor "));
        let requests = requests.filter_map(|(_, request)| request.split_once("): "));
        requests.filter_map(|(_, request)| request.split(' ').nth(1).map(str::to_owned)).collect()
    }
}

#[actix::test]
async fn the_ca_alone_is_asked_through_the_proxy_of_the_environment() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let Some(proxy) = Proxy::start(world).await else {
            assert!(std::env::var_os("CI").is_none(), "tinyproxy is not installed");
            return eprintln!("tinyproxy is not installed: the CA is not asked through a proxy");
        };
        let client = world.admin();
        namespace(&client, "web").await;
        let mut options = OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme"));
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            options.env.push((name.to_owned(), format!("http://{}", proxy.address)));
        }
        options.env.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), String::new())));
        let operator = world.start_operator(options).await.expect("the operator starts");
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
        let directory = world.acme_directory();
        let ca = directory.trim_start_matches("https://").split('/').next().unwrap_or_default();
        let targets = proxy.targets();
        assert!(!targets.is_empty(), "the proxy was not used");
        assert!(targets.iter().all(|target| target == ca), "{ca} only, not {targets:?}");
        let log = fs::read_to_string(operator.log_path()).expect("the log");
        assert!(log.contains("the CA is asked through the proxy of the environment"), "{log}");
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}
