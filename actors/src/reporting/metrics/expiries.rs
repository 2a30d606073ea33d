//! Expiry and renewal time of the certificates as metrics, encoded from the expiries during a
//! scrape. No series is kept between scrapes.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::domain::validity::expiries::{Expiries, Validity, first_to_renew};
use crate::shared_expiries::SharedExpiries;

/// Collector of the expiries.
#[derive(Debug)]
pub(super) struct ExpiryCollector(pub(super) SharedExpiries);

impl Collector for ExpiryCollector {
    /// Copies the expiries first, so that no actor waits while megabytes of text are written.
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let copied = |expiries: &Expiries| {
            expiries.iter().map(|(key, validity)| (key.clone(), validity)).collect::<Vec<_>>()
        };
        let all = self.0.read(copied);
        let known = all.len();
        let all = first_to_renew(all, limits::CERTIFICATE_SERIES);
        left_out(&mut encoder, known - all.len())?;
        if all.is_empty() {
            return Ok(());
        }
        let (name, help) =
            ("certificate_not_after_timestamp_seconds", "End of the certificate's validity.");
        family(&mut encoder, name, help, &all, |validity| validity.not_after)?;
        let (name, help) =
            ("certificate_renewal_timestamp_seconds", "Renewal time of the certificate.");
        family(&mut encoder, name, help, &all, |validity| validity.renewal)
    }
}

fn left_out(encoder: &mut DescriptorEncoder, count: usize) -> Result<(), Error> {
    let (name, help) = (
        "certificates_without_series",
        "Certificates without dates here, because too many others are to be renewed before.",
    );
    let series = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(series)
}

fn family(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    all: &[(SecretKey, Validity)],
    date: impl Fn(&Validity) -> Timestamp,
) -> Result<(), Error> {
    let mut series = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (secret, validity) in all {
        let labels = [("namespace", &*secret.namespace), ("secret", &*secret.name)];
        ConstGauge::new(date(validity).as_secs()).encode(series.encode_family(&labels)?)?;
    }
    Ok(())
}
