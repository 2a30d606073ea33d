//! Memory limit of the process: how much is kept of the Ingresses of one namespace.

use std::fs;

use ingress_acme_actors::domain::limits;
use tracing::{info, warn};

/// Variable with the memory limit in bytes; `deploy/install.yaml` sets it.
const MEMORY_LIMIT: &str = "MEMORY_LIMIT";
/// Memory limit of the container in `deploy/install.yaml`, for which
/// [`limits::NAMESPACE_ROOM`] is chosen.
const USUAL: usize = 256 << 20;
/// Largest room, for a limit of 4 GiB and without any limit: one namespace must not take all memory
/// of a node.
const MOST: usize = 16 * limits::NAMESPACE_ROOM;

/// Bytes for the Ingresses of one namespace.
pub(super) fn room() -> usize {
    let given = std::env::var(MEMORY_LIMIT).ok();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let found = || files(&own).iter().filter_map(|file| limit(file)).min();
    let limit = match given.as_deref().map(|text| text.trim().parse::<usize>()) {
        Some(Ok(limit)) => Some(limit),
        Some(Err(_)) => {
            warn!(given, "{MEMORY_LIMIT} is no number of bytes; the limit of the cgroup counts");
            found()
        }
        None => found(),
    };
    // In a pod without a readable limit the usual one is assumed.
    let in_a_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let room = room_within(limit.or(in_a_pod.then_some(USUAL)));
    info!(memory_limit = limit, bytes = room, "memory for the Ingresses of one namespace");
    room
}

/// Files that may have the limit of the cgroup that `own` names (`/proc/self/cgroup`): of version 2
/// and 1, and those of the root, which a container sees in place of its own path.
fn files(own: &str) -> Vec<String> {
    let mut paths = vec!["/memory.max".to_owned(), "/memory/memory.limit_in_bytes".to_owned()];
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next(), fields.next()) {
            (_, Some(path)) if !path.starts_with('/') => {}
            (Some(""), Some(path)) => paths.push(format!("{path}/memory.max")),
            (Some("memory"), Some(path)) => {
                paths.push(format!("/memory{path}/memory.limit_in_bytes"));
            }
            _ => {}
        }
    }
    paths.iter().map(|path| format!("/sys/fs/cgroup{path}")).collect()
}

/// Limit in a file, in bytes; `None` without one.
fn limit(file: &str) -> Option<usize> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Room in proportion to a limit.
fn room_within(limit: Option<usize>) -> usize {
    let of = |limit: usize| limits::NAMESPACE_ROOM / 256 * (limit / (USUAL / 256));
    limit.map_or(MOST, |limit| of(limit.min(16 * USUAL))).max(limits::NAMESPACE_ROOM)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_cgroup_and_any_limit_give_a_bounded_room(
            own in "([0-9]{0,3}:[a-z,]{0,9}:.{0,30}\n){0,9}|.{0,200}", limit in any::<Option<usize>>(),
        ) {
            let files = files(&own);
            prop_assert!(files.len() <= own.lines().count() + 2);
            prop_assert!(files.iter().all(|file| file.starts_with("/sys/fs/cgroup/")), "{:?}", files);
            prop_assert!((limits::NAMESPACE_ROOM..=MOST).contains(&room_within(limit)));
        }
    }

    #[test]
    fn the_room_grows_with_the_memory_limit() {
        assert_eq!(room_within(Some(USUAL)), limits::NAMESPACE_ROOM);
        assert_eq!(room_within(Some(USUAL / 2)), limits::NAMESPACE_ROOM, "no less");
        assert_eq!(room_within(Some(384 << 20)), limits::NAMESPACE_ROOM / 2 * 3);
        assert_eq!(room_within(Some(1 << 30)), 4 * limits::NAMESPACE_ROOM);
        assert_eq!(room_within(Some(usize::MAX)), MOST);
        assert_eq!(room_within(None), MOST, "no limit");
    }

    #[test]
    fn the_limit_is_read_from_the_cgroup_of_either_version() {
        let version_2 = files("0::/kubepods/pod1\n");
        assert!(version_2.contains(&"/sys/fs/cgroup/kubepods/pod1/memory.max".to_owned()));
        let version_1 = files("5:cpu,cpuacct:/x\n4:memory:/docker/1\n");
        let file = "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes".to_owned();
        assert!(version_1.contains(&file));
        assert!(files("nonsense").contains(&"/sys/fs/cgroup/memory.max".to_owned()));
    }
}
