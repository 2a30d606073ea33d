//! Load balancers in front of the cluster that answer challenges themselves, with the snippets of
//! `ingress-acme thumbprint`: the real HAProxy and nginx. Nothing leads to the operator's solver.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use ingress_acme_control_plane::{Operator, World, eventually, retry_when_wedged};
use kube::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::commands::{asked_of_the_ca, command_as};
use crate::sites::{PATIENCE, Site, certificate, events, namespace};
use crate::{alone, operator};

/// A token as CAs make them.
const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA";
/// Answer of the cluster to all requests that reach it.
const CLUSTER: &str = "the cluster";

/// A load balancer program.
struct Kind {
    /// Executable, and value of `--snippet`.
    name: &'static str,
    /// Address of its own, at the port of the world's validations.
    address: Ipv4Addr,
    /// Arguments of a program in the foreground, before the configuration file.
    args: &'static [&'static str],
    /// Configuration with the snippet, which listens at the first address and leads to the second.
    configuration: fn(&str, SocketAddr, SocketAddr, &str) -> String,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "haproxy",
        address: Ipv4Addr::new(127, 0, 0, 2),
        args: &["-db", "-f"],
        configuration: |snippet, from, to, _| {
            format!(
                "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
                 frontend port80\n bind {from}\n{snippet}\n default_backend cluster\n\
                 backend cluster\n server one {to}\n"
            )
        },
    },
    Kind {
        name: "nginx",
        address: Ipv4Addr::new(127, 0, 0, 3),
        args: &["-e", "stderr", "-c"],
        configuration: |snippet, from, to, directory| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary: String = temporary
                .map(|name| format!("{name}_temp_path {directory}/nginx-{name};\n"))
                .concat();
            format!(
                "daemon off;\nmaster_process off;\npid {directory}/nginx.pid;\nevents {{}}\n\
                 http {{\naccess_log off;\n{temporary}\
                 server {{\nlisten {from};\n{snippet}\nlocation / {{ proxy_pass http://{to}; }}\n}}\n}}\n"
            )
        },
    },
];

/// A running load balancer with the cluster behind it.
struct Front<'a> {
    kind: &'a Kind,
    address: SocketAddr,
    cluster: Cluster,
    /// Killed on drop.
    process: Child,
}

impl<'a> Front<'a> {
    /// Starts the program with the snippet of now; `None` where it is not installed.
    async fn start(world: &World, kind: &'a Kind) -> Option<Self> {
        let (cluster, snippet) =
            (Cluster::start().await, thumbprint(world, &["--snippet", kind.name]).await);
        let snippet = snippet.expect("a snippet");
        let address = SocketAddr::from((kind.address, world.gateway_port()));
        let file = world.directory().join(kind.name);
        let directory = world.directory().display().to_string();
        let configuration = (kind.configuration)(&snippet, address, cluster.address, &directory);
        fs::write(&file, configuration).expect("the configuration");
        let log = fs::File::create(file.with_extension("log")).expect("the log");
        let mut command = Command::new(kind.name);
        command.args(kind.args).arg(file).kill_on_drop(true);
        // Debian has both in a directory that not every user searches.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let Ok(process) = command.spawn() else {
            assert!(std::env::var_os("CI").is_none(), "{} is not installed", kind.name);
            eprintln!("{} is not installed: its snippet is not tested", kind.name);
            return None;
        };
        eventually(PATIENCE, "the load balancer listens", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        Some(Self { kind, address, cluster, process })
    }

    /// Adds an Ingress with a host that leads here.
    async fn order(&self, world: &World, client: &Client, name: &str) {
        let host = self.host(name);
        world.dns_resolve(&host, self.kind.address).await.expect("the record");
        Site::new("web", &self.ingress(name), &[&host]).create(client).await;
    }

    /// Waits for its certificate.
    async fn issued(&self, client: &Client, name: &str) {
        let secret = format!("{}-tls", self.ingress(name));
        certificate(client, "web", &secret, &[&self.host(name)]).await;
        assert_eq!(self.cluster.challenges(), 0, "the solver was not needed");
    }

    fn host(&self, name: &str) -> String {
        format!("{}.example.com", self.ingress(name))
    }

    fn ingress(&self, name: &str) -> String {
        format!("{name}-{}", self.kind.name)
    }

    /// After a rollover, the snippet of before is told, and costs no failed validation.
    async fn changes_its_snippet(mut self, world: &World, client: &Client) {
        eventually(PATIENCE, "an Event about the key", async || {
            let told = events(client, "web", &self.ingress("second")).await;
            told.iter().any(|(_, note)| note.contains("for another account key")).then_some(())
        })
        .await;
        self.process.kill().await.expect("the load balancer ends");
        let next = Front::start(world, self.kind).await.expect("it has started before");
        next.issued(client, "second").await;
    }

    /// Tokens are answered with the thumbprint, and everything else reaches the cluster.
    async fn check_answers(&self, world: &World) {
        let thumbprint = thumbprint(world, &[]).await.expect("a thumbprint");
        let thumbprint = thumbprint.trim_end();
        let challenge = |token: &str| format!("GET /.well-known/acme-challenge/{token}");
        for token in [TOKEN, &"a".repeat(16), &"a".repeat(128)] {
            let expected = (200, format!("{token}.{thumbprint}"));
            assert_eq!(self.answer(&challenge(token)).await, expected);
            assert_eq!(self.answer(&format!("{}?a=b", challenge(token))).await, expected);
        }
        assert_eq!(self.cluster.challenges(), 0);
        let others = [
            "GET /".to_owned(),
            format!("GET /shop/.well-known/acme-challenge/{TOKEN}"),
            format!("GET /xwell-known/acme-challenge/{TOKEN}"),
            format!("GET /.well-known/acme-challenge/{TOKEN}/more"),
            challenge(""),
            challenge(&"a".repeat(15)),
            challenge(&"a".repeat(129)),
            challenge(&format!("{TOKEN}=")),
            challenge(&format!("{TOKEN}.{TOKEN}")),
            challenge(&format!("{TOKEN}%0A")),
            challenge(&format!("{TOKEN}%3Cscript%3E")),
            challenge(&format!("{TOKEN}$1")),
        ];
        for request in &others {
            assert_eq!(self.answer(request).await, (200, CLUSTER.to_owned()), "{request}");
        }
        let received = std::mem::take(&mut *self.cluster.requests.lock().unwrap());
        assert_eq!(received.len(), others.len(), "{received:?}");
    }

    /// Status and body of the answer to a request as it is.
    async fn answer(&self, request: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("{request} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.trim_end().to_owned())
    }
}

/// Everything behind the load balancers: records the request lines, and answers [`CLUSTER`].
struct Cluster {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, requests) = (listener.local_addr().unwrap(), Arc::default());
        let received: Arc<Mutex<Vec<String>>> = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = connection.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                received.lock().unwrap().extend(head.lines().next().map(str::to_owned));
                let length = CLUSTER.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{CLUSTER}"
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, requests }
    }

    /// Requests for challenges that came through.
    fn challenges(&self) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|line| line.contains("acme-challenge")).count()
    }
}

/// Output of `thumbprint`, with the rights of the operator.
async fn thumbprint(world: &World, more: &[&str]) -> Result<String, String> {
    let directory = world.acme_directory();
    let args = ["thumbprint", "--namespace", "ingress-acme", "--acme-directory", &directory];
    let output = command_as(world.operator_kubeconfig(), &[&args, more].concat()).await;
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Gives the account a new key, and waits until the operator has it.
async fn roll_over(world: &World, operator: &Operator) {
    let directory = world.acme_directory();
    asked_of_the_ca(world, &["rollover", "--acme-directory", &directory]).await;
    let new = thumbprint(world, &[]).await.expect("a thumbprint");
    let url = format!("http://{}/.well-known/acme-challenge/{TOKEN}", operator.solver_address());
    eventually(PATIENCE, "the operator answers with the new key", async || {
        let answer = reqwest::get(&url).await.ok()?.text().await.ok()?;
        (answer == format!("{TOKEN}.{}", new.trim_end())).then_some(())
    })
    .await;
}

#[actix::test]
async fn haproxy_and_nginx_answer_challenges_with_the_printed_snippets() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let missing = thumbprint(world, &[]).await.expect_err("there is no account yet");
        assert!(missing.contains("when it starts with that CA for the first time"), "{missing}");
        let client = world.admin();
        namespace(&client, "web").await;
        let operator = operator(world).await;
        let mut fronts = Vec::new();
        for kind in &KINDS {
            let Some(front) = Front::start(world, kind).await else { continue };
            front.check_answers(world).await;
            front.order(world, &client, "first").await;
            front.issued(&client, "first").await;
            fronts.push(front);
        }
        roll_over(world, &operator).await;
        let orders = 2 * fronts.len();
        for front in &fronts {
            front.order(world, &client, "second").await;
        }
        for front in fronts {
            front.changes_its_snippet(world, &client).await;
        }
        let counts = (world.orders_created(), world.certificates_issued());
        assert_eq!((counts, world.validations_failed()), ((orders, orders), 0));
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}
