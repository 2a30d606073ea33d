//! Decides which addresses are listened on for health, metrics and administration, and what each of
//! them serves. No I/O.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Port of the solver without `--solver-bind`.
pub const SOLVER: u16 = 8089;
/// Port of health without `--health-bind`: the kubelet probes from the node.
const HEALTH: u16 = 8081;
/// Port of metrics without `--metrics-bind`: Prometheus scrapes from another pod.
const METRICS: u16 = 9090;
/// Address of administration without `--admin-bind`. Loopback, because the pages show Ingresses of
/// all namespaces without authentication; `kubectl port-forward` reaches loopback.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);

/// Addresses given by the user.
#[derive(Clone, Copy, Debug, Default)]
pub struct Binds {
    /// `--health-bind`.
    pub health: Option<SocketAddr>,
    /// `--metrics-bind`.
    pub metrics: Option<SocketAddr>,
    /// `--admin-bind`.
    pub admin: Option<SocketAddr>,
}

/// A group of paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// `/livez` and `/readyz`.
    Health,
    /// `/metrics`.
    Metrics,
    /// The status page, the API and the state.
    Admin,
}

impl Role {
    /// Name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// Flag that sets the address.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Health => "--health-bind",
            Self::Metrics => "--metrics-bind",
            Self::Admin => "--admin-bind",
        }
    }
}

/// An address to listen on. The first of `roles` names the listener; clients of all share its
/// thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The address.
    pub bind: SocketAddr,
    /// Paths that are served.
    pub roles: Vec<Role>,
}

/// Returns the listeners for the addresses given. An admin address of the user also serves health
/// and metrics, as before these had ports of their own; a further listener opens for a flag, or for
/// a default whose port is another one. Roles with the same address share one listener. `any` is
/// the address of the defaults: that of all interfaces.
pub fn listeners(binds: &Binds, any: IpAddr) -> Vec<Listener> {
    let admin = binds.admin.unwrap_or(ADMIN);
    let roles = match binds.admin {
        Some(_) => vec![Role::Admin, Role::Metrics, Role::Health],
        None => vec![Role::Admin],
    };
    let mut all = vec![Listener { bind: admin, roles }];
    let others = [(Role::Metrics, binds.metrics, METRICS), (Role::Health, binds.health, HEALTH)];
    for (role, given, default) in others {
        let served = binds.admin.is_some_and(|admin| admin.port() == default);
        let bind = given.or_else(|| (!served).then_some(SocketAddr::new(any, default)));
        if let Some(bind) = bind {
            add(&mut all, bind, role);
        }
    }
    all
}

/// Adds a role. Port 0 stands for any free port, so that two of them are two ports.
fn add(all: &mut Vec<Listener>, bind: SocketAddr, role: Role) {
    let same = all.iter_mut().find(|one| one.bind == bind && bind.port() != 0);
    match same {
        Some(listener) if listener.roles.contains(&role) => {}
        Some(listener) => listener.roles.push(role),
        None => all.push(Listener { bind, roles: vec![role] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(health: Option<&str>, metrics: Option<&str>, admin: Option<&str>) -> Vec<String> {
        let parsed = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let binds =
            Binds { health: parsed(health), metrics: parsed(metrics), admin: parsed(admin) };
        let line = |one: Listener| {
            let roles: Vec<&str> = one.roles.iter().map(|role| role.name()).collect();
            format!("{} {}", one.bind, roles.join(" "))
        };
        listeners(&binds, Ipv4Addr::UNSPECIFIED.into()).into_iter().map(line).collect()
    }

    #[test]
    fn without_flags_only_health_and_metrics_are_reachable_from_outside_the_pod() {
        let expected = ["127.0.0.1:9091 admin", "0.0.0.0:9090 metrics", "0.0.0.0:8081 health"];
        assert_eq!(shown(None, None, None), expected);
    }

    #[test]
    fn an_admin_address_on_the_metrics_port_serves_all_as_before() {
        let expected = ["0.0.0.0:9090 admin metrics health", "0.0.0.0:8081 health"];
        assert_eq!(shown(None, None, Some("0.0.0.0:9090")), expected);
        let expected = ["[::]:9090 admin metrics health", "0.0.0.0:8081 health"];
        assert_eq!(shown(None, None, Some("[::]:9090")), expected);
    }

    #[test]
    fn an_admin_address_on_another_port_serves_all_beside_the_default_ports() {
        let expected =
            ["127.0.0.1:7000 admin metrics health", "0.0.0.0:9090 metrics", "0.0.0.0:8081 health"];
        assert_eq!(shown(None, None, Some("127.0.0.1:7000")), expected);
    }

    #[test]
    fn flags_with_one_address_share_one_listener() {
        let one = Some("127.0.0.1:7000");
        assert_eq!(shown(one, one, one), ["127.0.0.1:7000 admin metrics health"]);
        let expected = ["127.0.0.1:9091 admin", "127.0.0.1:7000 metrics health"];
        assert_eq!(shown(one, one, None), expected);
        let admin = Some("127.0.0.1:9091");
        assert_eq!(
            shown(one, admin, None),
            ["127.0.0.1:9091 admin metrics", "127.0.0.1:7000 health"]
        );
    }

    #[test]
    fn any_free_port_is_another_one_for_each_flag() {
        let any = Some("127.0.0.1:0");
        let expected =
            ["127.0.0.1:0 admin metrics health", "127.0.0.1:0 metrics", "127.0.0.1:0 health"];
        assert_eq!(shown(any, any, any), expected);
    }
}
