//! Memory limit of the process: how many hosts of a namespace are kept.

use std::fs;

use tracing::info;

/// Variable with the memory limit in bytes, where the cgroup does not show it.
const MEMORY_LIMIT: &str = "MEMORY_LIMIT";
/// Memory limit of the container in `deploy/install.yaml`, for which the bounds on one namespace
/// are chosen.
const USUAL: u64 = 256 << 20;
/// Largest number of times that the usual room is used, also without any limit: 4 GiB are enough
/// for every cluster, and one namespace must not take all memory of a node.
const MOST_TIMES: usize = 16;

/// Number of times that the usual memory is available to this process, from 1 on.
pub(super) fn room() -> usize {
    let given = std::env::var(MEMORY_LIMIT).ok().and_then(|given| given.trim().parse().ok());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let in_file = || files(&own).iter().filter_map(|file| limit(file)).min();
    let times = times(given.or_else(in_file));
    if times > 1 {
        info!(times, "there is more memory than usual: more hosts of a namespace are kept");
    }
    times
}

/// Files that may have the limit of the cgroup that `own` names (`/proc/self/cgroup`): of version 2
/// and 1, and those of the root, which a container sees in place of its own path.
fn files(own: &str) -> Vec<String> {
    let mut paths = vec!["/memory.max".to_owned(), "/memory/memory.limit_in_bytes".to_owned()];
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next(), fields.next()) {
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
fn limit(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Number of times that the usual memory fits into a limit.
fn times(limit: Option<u64>) -> usize {
    let times = limit.map(|limit| usize::try_from(limit / USUAL).unwrap_or(MOST_TIMES));
    times.unwrap_or(MOST_TIMES).clamp(1, MOST_TIMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_grows_with_the_memory_limit() {
        assert_eq!(times(Some(256 << 20)), 1);
        assert_eq!(times(Some(128 << 20)), 1, "less memory than usual");
        assert_eq!(times(Some(1 << 30)), 4);
        assert_eq!(times(Some(u64::MAX)), MOST_TIMES);
        assert_eq!(times(None), MOST_TIMES, "no limit");
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
