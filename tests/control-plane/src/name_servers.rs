//! Name servers whose zones a test changes: BIND by RFC 2136, and PowerDNS by its HTTP API.
//! Debian's packages bring both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::directory::{Directory, shared};
use crate::error::StartError;
use crate::ports::Port;
use crate::process::{Process, Program};

const READY_WITHIN: Duration = Duration::from_secs(20);
/// Places of servers, which are not in every user's `PATH`.
const PLACES: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Name of the TSIG key of [`Bind`], with the algorithm hmac-sha256.
pub const TSIG_KEY_NAME: &str = "acme";
/// The key, in Base64.
pub const TSIG_SECRET: &str = "c2VjcmV0LW9mLWEtdGVzdC1vZi1pbmdyZXNzLWFjbWU=";
/// Key of the API of [`PowerDns`].
pub const API_KEY: &str = "the-api-key-of-a-test";

/// Path of a program of these packages; `None` if it is not installed.
pub fn installed(program: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists())
}

/// A zone in the format of RFC 1035, whose name server is this one.
fn zone(records: &str) -> String {
    format!(
        "$TTL 1\n@ IN SOA ns admin 1 60 60 60 1\n@ IN NS ns\nns IN A 127.0.0.1\nns IN AAAA ::1\n{records}\n"
    )
}

/// BIND 9, as primary server of zones that are updated with [`TSIG_SECRET`]: only TXT records.
#[derive(Debug)]
pub struct Bind {
    process: Process,
    port: Port,
    _directory: Directory,
}

impl Bind {
    /// Starts the server with these zones on loopback, over IPv4 and IPv6. Each zone comes with its
    /// records.
    ///
    /// # Errors
    /// A port, a file or the server is not available.
    pub async fn start(zones: &[(&str, &str)]) -> Result<Self, StartError> {
        let (directory, port) = (Directory::create()?, Port::reserve(&shared().join("ports"))?);
        let (place, number) = (directory.path().display(), port.address().port());
        let mut config = format!(
            "options {{ directory \"{place}\"; listen-on port {number} {{ 127.0.0.1; }}; \
             listen-on-v6 port {number} {{ ::1; }}; pid-file none; session-keyfile none; \
             recursion no; dnssec-validation no; }};\ncontrols {{}};\n\
             key \"{TSIG_KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{TSIG_SECRET}\"; }};\n"
        );
        for (name, records) in zones {
            directory.write(&format!("{name}.zone"), &zone(records))?;
            let policy = format!("update-policy {{ grant {TSIG_KEY_NAME} zonesub TXT; }}");
            let file = format!("file \"{name}.zone\"");
            config.extend(["zone \"", name, "\" { type primary; ", &file, "; ", &policy, "; };\n"]);
        }
        let config = directory.write("named.conf", &config)?;
        let process = Program {
            name: "named".into(),
            path: installed("named").unwrap_or_else(|| "named".into()),
            args: vec!["-g".into(), "-c".into(), config.display().to_string()],
            env: Vec::new(),
            log: directory.path().join("named.log"),
        };
        let server = Self { process: process.start()?, port, _directory: directory };
        server.ready().await?;
        Ok(server)
    }

    async fn ready(&self) -> Result<(), StartError> {
        let listens = async || TcpStream::connect(self.port.address()).await.is_ok();
        self.process.readiness().wait(READY_WITHIN, listens).await
    }

    /// Address of the server; its port is the same over IPv6.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Ends the server.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Values of the TXT records of a name, as the server answers them.
    pub fn txt(&self, name: &str) -> Vec<String> {
        txt(self.address(), name)
    }
}

/// PowerDNS with a database of `SQLite`, and the API with [`API_KEY`].
#[derive(Debug)]
pub struct PowerDns {
    process: Process,
    port: Port,
    api: Port,
    _directory: Directory,
}

impl PowerDns {
    /// Starts the server with these zones. Each zone comes with its records.
    ///
    /// # Errors
    /// A port, a file, `SQLite` or the server is not available.
    pub async fn start(zones: &[(&str, &str)]) -> Result<Self, StartError> {
        let directory = Directory::create()?;
        let reserve = || Port::reserve(&shared().join("ports"));
        let (port, api) = (reserve()?, reserve()?);
        let place = directory.path().display().to_string();
        configure(&directory, port.address().port(), api.address().port())?;
        for (name, records) in zones {
            load(&directory, name, records)?;
        }
        let process = Program {
            name: "pdns_server".into(),
            path: installed("pdns_server").unwrap_or_else(|| "pdns_server".into()),
            args: vec![format!("--config-dir={place}")],
            env: Vec::new(),
            log: directory.path().join("pdns.log"),
        };
        let server = Self { process: process.start()?, port, api, _directory: directory };
        let listens = async |port: &Port| TcpStream::connect(port.address()).await.is_ok();
        let both = async || listens(&server.port).await && listens(&server.api).await;
        server.process.readiness().wait(READY_WITHIN, both).await?;
        Ok(server)
    }

    /// Address of the name server.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Base URL of the API.
    pub fn api(&self) -> String {
        format!("http://{}", self.api.address())
    }

    /// Ends the server.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Values of the TXT records of a name, as the server answers them.
    pub fn txt(&self, name: &str) -> Vec<String> {
        txt(self.address(), name)
    }
}

/// Makes an empty database and the configuration of PowerDNS.
fn configure(directory: &Directory, number: u16, api_number: u16) -> Result<(), StartError> {
    let (place, failed) = (directory.path().display().to_string(), StartError::io);
    let database = format!("{place}/pdns.sqlite3");
    let schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
    let made = Command::new("sqlite3").args([&database, &format!(".read {schema}")]).status();
    let made = made.map_err(failed("run sqlite3"))?;
    if !made.success() {
        return Err(failed("make a database")(std::io::Error::other(made.to_string())));
    }
    let config = format!(
        "launch=gsqlite3\ngsqlite3-database={database}\nlocal-address=127.0.0.1\n\
         local-port={number}\napi=yes\napi-key={API_KEY}\nwebserver=yes\n\
         webserver-address=127.0.0.1\nwebserver-port={api_number}\n\
         webserver-allow-from=127.0.0.1\ndaemon=no\nguardian=no\nsocket-dir={place}\n\
         cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n"
    );
    directory.write("pdns.conf", &config)?;
    Ok(())
}

/// Loads a zone into the database.
fn load(directory: &Directory, name: &str, records: &str) -> Result<(), StartError> {
    let (place, failed) = (directory.path().display(), StartError::io);
    let file = directory.write(&format!("{name}.zone"), &zone(records))?;
    let load = Command::new("pdnsutil")
        .arg(format!("--config-dir={place}"))
        .args(["load-zone", name])
        .arg(file)
        .output()
        .map_err(failed("run pdnsutil"))?;
    if !load.status.success() {
        let words = String::from_utf8_lossy(&load.stderr).into_owned();
        return Err(failed("load a zone")(std::io::Error::other(words)));
    }
    Ok(())
}

/// Asks a server by `dig`; sorted.
fn txt(server: SocketAddr, name: &str) -> Vec<String> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let args = [&*at, "-p", &port, "+short", "+time=2", "+tries=2", name, "TXT"];
    let asked = Command::new("dig").args(args).output().expect("dig runs");
    let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
    let mut values: Vec<_> = answer.lines().map(|line| line.trim_matches('"').to_owned()).collect();
    values.sort();
    values
}
