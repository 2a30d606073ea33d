//! Process metrics, read from Linux's `/proc` at each scrape. They have the standard names of
//! Prometheus client libraries, except the peak of resident memory, which has none. Unreadable
//! values are omitted.

use prometheus_client::registry::Registry;

/// Adds the process metrics to `registry`.
pub fn register(mut registry: Registry) -> Registry {
    #[cfg(target_os = "linux")]
    registry.register_collector(Box::new(linux::Process));
    #[cfg(not(target_os = "linux"))]
    let _ = &mut registry; // no /proc on this platform
    registry
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt::Error;

    use procfs::process::{LimitValue, Process as Proc};
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;

    /// The current process.
    #[derive(Debug)]
    pub(super) struct Process;

    impl Collector for Process {
        fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
            let Ok(process) = Proc::myself() else { return Ok(()) };
            times(&process, &mut encoder)?;
            memory(&process, &mut encoder)?;
            files(&process, &mut encoder)
        }
    }

    fn times(process: &Proc, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        let Ok(stat) = process.stat() else { return Ok(()) };
        let help = "Total user and system CPU time spent in seconds.";
        let busy = ConstCounter::new(seconds(stat.utime + stat.stime));
        show(encoder, "process_cpu_seconds", help, &busy)?;
        let Ok(booted) = procfs::boot_time_secs() else { return Ok(()) };
        let help = "Start time of the process since unix epoch in seconds.";
        let began = ConstGauge::new(whole(booted) + seconds(stat.starttime));
        show(encoder, "process_start_time_seconds", help, &began)
    }

    fn memory(process: &Proc, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        let Ok(status) = process.status() else { return Ok(()) };
        let sizes = [
            ("process_resident_memory_bytes", "Resident memory size in bytes.", status.vmrss),
            (
                "ingress_acme_process_resident_memory_peak_bytes",
                "Largest resident memory size since the process began, in bytes.",
                status.vmhwm,
            ),
        ];
        for (name, help, kib) in sizes {
            let Some(kib) = kib else { continue };
            show(encoder, name, help, &ConstGauge::new(whole(kib * 1024)))?;
        }
        Ok(())
    }

    fn files(process: &Proc, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        if let Ok(open) = process.fd_count() {
            let open = ConstGauge::new(u32::try_from(open).unwrap_or(u32::MAX));
            show(encoder, "process_open_fds", "Number of open file descriptors.", &open)?;
        }
        let limit = process.limits().map(|limits| limits.max_open_files.soft_limit);
        if let Ok(LimitValue::Value(most)) = limit {
            let help = "Maximum number of open file descriptors.";
            show(encoder, "process_max_fds", help, &ConstGauge::new(whole(most)))?;
        }
        Ok(())
    }

    fn show(
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        metric: &impl EncodeMetric,
    ) -> Result<(), Error> {
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    /// Converts kernel clock ticks to seconds.
    fn seconds(ticks: u64) -> f64 {
        whole(ticks) / whole(procfs::ticks_per_second())
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53; scraped values are f64 anyway")]
    fn whole(number: u64) -> f64 {
        number as f64
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_shown_under_the_names_every_dashboard_knows() {
        let mut text = String::new();
        let registry = register(Registry::default());
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            let line = line.unwrap_or_else(|| panic!("{name} in\n{text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let (now, peak) = (
            value("process_resident_memory_bytes"),
            value("ingress_acme_process_resident_memory_peak_bytes"),
        );
        assert!(now > 500_000.0 && peak >= now * 0.9, "{now} {peak}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_start_time_seconds") > 1_500_000_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") > 3.0);
    }
}
