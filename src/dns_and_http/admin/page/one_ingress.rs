//! The page of one Ingress: its certificates with their next steps, and the history of both. The
//! same as text is its explanation.

use askama::Template;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::expiries::Validity;
use ingress_acme_actors::reporting::reporter::{CertificateRow, IngressReport, IngressRow};

use super::words::{self, Bar};

/// Content of the page.
#[derive(Template)]
#[template(path = "ingress.html")]
pub(in super::super) struct IngressPage<'a> {
    pub(in super::super) version: &'static str,
    pub(in super::super) report: &'a IngressReport,
}

impl IngressPage<'_> {
    fn row(&self) -> &IngressRow {
        &self.report.row
    }

    fn explanation(&self) -> String {
        words::link("explain", &IngressKey::new(&self.row().namespace, &self.row().name))
    }

    fn shown(&self) -> &[CertificateRow] {
        let all = &self.row().certificates;
        &all[..all.len().min(limits::PAGE_CERTIFICATES)]
    }

    fn more(&self) -> usize {
        let row = self.row();
        row.certificates.len() + row.certificates_left_out - self.shown().len()
    }

    fn bar(&self, certificate: &CertificateRow) -> Option<Bar> {
        let (not_after, renewal) = certificate.not_after.zip(certificate.renewal)?;
        Some(Bar::of(Validity { not_after, renewal }, self.report.now))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "a template passes fields so")]
    fn when(&self, at: &Timestamp) -> String {
        words::when(*at, self.report.now)
    }
}

/// The same as plain text, in the layout of the command `explain`. That one also reads the Secrets
/// and the Events of the cluster; this one has the operator's own knowledge.
#[derive(Template)]
#[template(path = "explain.txt")]
pub(in super::super) struct Explanation<'a> {
    pub(in super::super) report: &'a IngressReport,
}

impl Explanation<'_> {
    fn row(&self) -> &IngressRow {
        &self.report.row
    }

    /// Whether the certificates name their CAs, because there are several.
    fn has_several_cas(&self) -> bool {
        self.row().certificates.iter().any(|certificate| certificate.ca.is_some())
    }
}

/// The first hosts of a certificate.
fn few_hosts(certificate: &CertificateRow) -> String {
    words::few(&certificate.hosts, certificate.hosts_left_out)
}

/// All hosts of a certificate that the reporter names.
fn all_hosts(certificate: &CertificateRow) -> String {
    let hosts = certificate.hosts.join(", ");
    let hosts = hosts.replace(char::is_control, " ");
    match certificate.hosts_left_out {
        0 => hosts,
        more => format!("{hosts} and {more} more"),
    }
}

/// A text from outside, without characters that control a terminal.
fn plain(text: &str) -> String {
    cut(text, limits::ROW_DETAIL)
}
