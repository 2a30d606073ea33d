//! The list of Ingresses: searched, filtered, and a hundred rows at a time.

use askama::Template;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::expiries::Validity;
use ingress_acme_actors::reporting::reporter::{
    CertificateRow, Filter, IngressRow, Listing, Search,
};
use url::form_urlencoded::Serializer;

use super::words::{self, Bar};

/// Certificates of one Ingress in the list.
const CERTIFICATES: usize = 3;

/// Content of the page.
#[derive(Template)]
#[template(path = "ingresses.html")]
pub(in super::super) struct ListPage<'a> {
    pub(in super::super) version: &'static str,
    pub(in super::super) search: &'a Search,
    pub(in super::super) listing: &'a Listing,
}

impl ListPage<'_> {
    const FILTERS: [Filter; 8] = Filter::ALL;

    fn text(&self) -> &str {
        self.search.text.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.search.namespace.as_deref().unwrap_or_default()
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "a template passes fields so")]
    fn is_chosen(&self, filter: &Filter) -> bool {
        self.search.filter == Some(*filter)
    }

    /// Description of the rows, in words.
    fn summary(&self) -> String {
        let Listing { total, offset, ingresses, .. } = self.listing;
        let kind = match self.search.filter {
            Some(Filter::LeftAlone) => "left alone",
            _ => "managed",
        };
        match ingresses.len() {
            0 => format!("None of the {kind} Ingresses is shown: {total} match."),
            shown if shown == *total => format!("{total} {kind}"),
            shown => format!("{} to {} of {total} {kind}", offset + 1, offset + shown),
        }
    }

    fn before(&self) -> Option<String> {
        let page = self.listing.offset / limits::LIST_ROWS;
        page.checked_sub(1).map(|page| self.page(page))
    }

    fn after(&self) -> Option<String> {
        let Listing { total, offset, .. } = self.listing;
        let next = offset.saturating_add(limits::LIST_ROWS);
        (next < *total).then(|| self.page(next / limits::LIST_ROWS))
    }

    /// Address of another page of this list.
    fn page(&self, page: usize) -> String {
        let path = "ingresses?".to_owned();
        let start = path.len();
        let mut query = Serializer::for_suffix(path, start);
        for (name, value) in [
            ("search", self.text()),
            ("namespace", self.namespace()),
            ("state", self.search.filter.map_or("", Filter::label)),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.append_pair("page", &(page + 1).to_string()).finish()
    }

    fn bar(&self, certificate: &CertificateRow) -> Option<(Bar, Timestamp)> {
        let (not_after, renewal) = certificate.not_after.zip(certificate.renewal)?;
        Some((Bar::of(Validity { not_after, renewal }, self.listing.now), not_after))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "a template passes fields so")]
    fn when(&self, at: &Timestamp) -> String {
        words::when(*at, self.listing.now)
    }
}

fn link(row: &IngressRow) -> String {
    words::link("ingress", &IngressKey::new(&row.namespace, &row.name))
}

fn shown(row: &IngressRow) -> &[CertificateRow] {
    &row.certificates[..row.certificates.len().min(CERTIFICATES)]
}

fn hosts(certificate: &CertificateRow) -> String {
    words::few(&certificate.hosts, certificate.hosts_left_out)
}

/// Number of certificates that are not shown.
fn more(row: &IngressRow) -> usize {
    row.certificates.len() + row.certificates_left_out - shown(row).len()
}
