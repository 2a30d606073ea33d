//! Name of this process among the replicas, in the Lease and in Events.

use rustls::crypto::aws_lc_rs::default_provider;

/// Host name, as the kernel tells it; in a pod the name of the pod.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Returns the variable `POD_NAME`, or else the host name with a random suffix: two processes must
/// never have one name, because each would take the other's Lease for its own.
pub fn name() -> String {
    let given = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    given.unwrap_or_else(|| {
        let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
        unique(host.trim())
    })
}

fn unique(host: &str) -> String {
    let mut random = [0; 8];
    // Without random numbers no key can be made either, so that the process ends soon.
    _ = default_provider().secure_random.fill(&mut random);
    let host = if host.is_empty() { "ingress-acme" } else { host };
    format!("{host}-{:016x}", u64::from_be_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_on_one_host_have_different_names() {
        assert_ne!(unique("node"), unique("node"));
        assert!(unique("node").starts_with("node-") && unique("").starts_with("ingress-acme-"));
    }
}
