//! Answers with the pages: the reporter is asked, and its answer put into a template.

use askama::Template;
use bytes::Bytes;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::reporting::reporter::{
    GetIngress, GetOverview, IngressReport, ListIngresses,
};

use super::cached::Cached;
use super::page::{Explanation, IngressPage, ListPage, Page};
use super::{Health, Unanswered, ask};

/// Last answers.
#[derive(Default)]
pub(super) struct Pages {
    overview: Cached<()>,
    list: Cached<ListIngresses>,
    one: Cached<IngressKey>,
    explanation: Cached<IngressKey>,
}

impl Health {
    pub(super) async fn overview(&self) -> Result<Bytes, Unanswered> {
        let made = async {
            let overview = match self.0.reporter.get() {
                Some(reporter) => {
                    Some(ask(reporter, GetOverview { rows: limits::PAGE_ROWS }).await?)
                }
                None => None,
            };
            rendered(&Page {
                version: crate::VERSION,
                directory: &self.0.directory,
                overview: overview.as_ref(),
                totals: self.0.metrics.totals(),
            })
        };
        self.0.pages.overview.answer((), made).await
    }

    pub(super) async fn list(&self, query: ListIngresses) -> Result<Bytes, Unanswered> {
        let made = async {
            let listing = self.listed(&query).await?;
            rendered(&ListPage {
                version: crate::VERSION,
                search: &query.search,
                listing: &listing,
            })
        };
        self.0.pages.list.answer(query.clone(), made).await
    }

    pub(super) async fn one(&self, key: IngressKey) -> Result<Bytes, Unanswered> {
        let made = async {
            let report = self.report(&key).await?;
            rendered(&IngressPage { version: crate::VERSION, report: &report })
        };
        self.0.pages.one.answer(key.clone(), made).await
    }

    pub(super) async fn explanation(&self, key: IngressKey) -> Result<Bytes, Unanswered> {
        let made = async { rendered(&Explanation { report: &self.report(&key).await? }) };
        self.0.pages.explanation.answer(key.clone(), made).await
    }

    async fn report(&self, key: &IngressKey) -> Result<IngressReport, Unanswered> {
        let reporter = self.0.reporter.get().ok_or(Unanswered::Standby)?;
        ask(reporter, GetIngress(key.clone())).await?.ok_or(Unanswered::NoIngress)
    }
}

fn rendered(page: &impl Template) -> Result<String, Unanswered> {
    page.render().map_err(|error| Unanswered::Unwritable(error.to_string()))
}
