//! `log-level`: the log filter of a running operator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use ingress_acme_actors::domain::limits;

use super::duration;

/// Flags of `log-level`.
#[derive(Debug, Args)]
pub struct LogLevelArgs {
    /// Level of the operator's own lines (error, warn, info, debug, trace or off); or a filter as
    /// `RUST_LOG` has it, such as `info,ingress_acme::acme=debug`; or `default`, which is the
    /// filter of the start. Without one, the filter in force is shown
    #[arg(value_name = "LEVEL|FILTER")]
    pub filter: Option<String>,
    /// Time after which the filter of the start returns; at most 24h
    #[arg(long = "for", default_value = "15m", value_name = "TIME", value_parser = time)]
    pub time: Duration,
    /// Admin port of the operator, as in `run`
    #[arg(
        long,
        env = "INGRESS_ACME_ADMIN_BIND",
        default_value = "127.0.0.1:9091",
        value_name = "ADDR"
    )]
    pub admin_bind: SocketAddr,
}

impl LogLevelArgs {
    /// Address to connect to: loopback where the port is on all interfaces.
    pub fn address(&self) -> SocketAddr {
        let ip = match self.admin_bind.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.admin_bind.port())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if !(Duration::from_secs(1)..=limits::LOG_CHANGE_MAX).contains(&time) {
        return Err(format!("`{text}` is not between 1s and 24h"));
    }
    Ok(time)
}
