//! Cost of a plan at the CA: its orders, against the limits of the CA, and the time they take.

use std::collections::{BTreeMap, BTreeSet};

use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::rate_limits::LimitScope;
use ingress_acme_actors::domain::rate_limits::forecast::{Forecast, forecast};
use serde::Serialize;

use super::row::{Order, Planned, Served};
use crate::commands::cli::LETS_ENCRYPT;
use crate::commands::status::columns::Columns;
use crate::commands::status::quota::count;

/// Number of limits in the text. `-o json` has all of them.
const SHOWN: usize = 10;

/// Sums of a plan, with the fields of `-o json`.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Ingresses that are served as they ask.
    served: usize,
    /// Ingresses that are served with a difference.
    partly_served: usize,
    /// Ingresses without a certificate.
    not_served: usize,
    /// Certificates to order that count in the CA's limits.
    orders: usize,
    /// Certificates to renew.
    renewals: usize,
    /// Certificates that are good, or left as they are.
    kept: usize,
    /// URL of the CA's directory.
    directory: String,
    /// Limits of the CA, the slowest first; none where they are not known.
    limits: Vec<Limit>,
    /// Time that all orders take at least; `None` where the limits are not known.
    takes_seconds: Option<u64>,
}

/// A limit of the CA, and the orders that it counts.
#[derive(Debug, Serialize)]
struct Limit {
    /// Things that the limit counts.
    counts: String,
    orders: usize,
    /// Number of orders that pass within `period_seconds`.
    allowed: u32,
    period_seconds: u64,
    takes_seconds: u64,
}

impl Summary {
    /// Sums up a plan for the CA of `directory`. A Secret that several Ingresses share counts once.
    pub(super) fn of(planned: &[Planned], directory: &str) -> Self {
        let certificates = planned.iter().flat_map(|one| &one.certificates);
        let by_secret: BTreeMap<&SecretKey, (&BTreeSet<DnsName>, Option<Order>)> = certificates
            .map(|(desired, order)| (&desired.secret, (&desired.names, *order)))
            .collect();
        let with = |wanted: Option<Order>| {
            by_secret.values().filter(move |(_, order)| *order == wanted).map(|(names, _)| *names)
        };
        let known = directory == LETS_ENCRYPT;
        let limits: Vec<Forecast> =
            if known { forecast(with(Some(Order::New))) } else { Vec::new() };
        let slowest = limits.first().map_or(0, |limit| limit.takes.as_secs());
        let with_served = |wanted| planned.iter().filter(|one| served(one) == wanted).count();
        Self {
            served: with_served(Served::Yes),
            partly_served: with_served(Served::Partly),
            not_served: with_served(Served::No),
            orders: with(Some(Order::New)).count(),
            renewals: with(Some(Order::Renewal)).count(),
            kept: with(None).count(),
            directory: directory.to_owned(),
            limits: limits.iter().map(Limit::of).collect(),
            takes_seconds: known.then_some(slowest),
        }
    }

    /// The sums in words.
    pub(super) fn text(&self) -> String {
        let all = self.served + self.partly_served + self.not_served;
        let mut lines = vec![
            format!(
                "{}: {} served, {} partly, {} not.",
                count(all, "Ingress", "Ingresses"),
                self.served,
                self.partly_served,
                self.not_served
            ),
            format!(
                "{} to order at {}, {} to renew, {} good or left as they are.",
                count(self.orders, "certificate", "certificates"),
                self.directory,
                self.renewals,
                self.kept
            ),
        ];
        match self.takes_seconds {
            None => lines.push("The limits of this CA are not known here.".to_owned()),
            Some(_) if self.limits.is_empty() => {}
            Some(takes) => lines.extend(self.limit_lines(takes)),
        }
        lines.join("\n")
    }

    fn limit_lines(&self, takes: u64) -> Vec<String> {
        let header = ["LIMIT OF LET'S ENCRYPT", "ORDERS", "ALLOWED", "TAKES"].map(str::to_owned);
        let mut cells = vec![header.to_vec()];
        cells.extend(self.limits.iter().take(SHOWN).map(Limit::cells));
        let columns = Columns::of(&cells);
        let mut lines = vec![String::new()];
        lines.extend(cells.iter().map(|row| columns.line(row)));
        if self.limits.len() > SHOWN {
            let more = self.limits.len() - SHOWN;
            lines.push(format!(
                "and {}, none of them slower (-o json)",
                count(more, "other limit", "other limits")
            ));
        }
        lines.push(String::new());
        lines.push(if takes == 0 {
            "All orders fit into the limits at once, if nobody else has used them up.".to_owned()
        } else {
            format!(
                "All orders take {}: the operator waits for the limits and loses no order. Ingresses of one domain and \
                 namespace can share certificates (annotation ingress-acme.dev/group).",
                at_least(takes)
            )
        });
        lines.push("Renewals that replace a certificate (ARI) count in no limit.".to_owned());
        lines
    }
}

/// How an Ingress is served over all its certificates.
fn served(planned: &Planned) -> Served {
    let all = |wanted| planned.rows.iter().all(|row| row.served == wanted);
    let alike = [Served::Yes, Served::No].into_iter().find(|one| all(*one));
    alike.unwrap_or(Served::Partly)
}

impl Limit {
    fn of(forecast: &Forecast) -> Self {
        let counts = match &forecast.scope {
            LimitScope::Account => "orders of the account".to_owned(),
            scope => scope.to_string(),
        };
        Self {
            counts,
            orders: forecast.orders,
            allowed: forecast.at_once,
            period_seconds: forecast.period().as_secs(),
            takes_seconds: forecast.takes.as_secs(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let takes = match self.takes_seconds {
            0 => "at once".to_owned(),
            takes => at_least(takes),
        };
        vec![
            self.counts.clone(),
            self.orders.to_string(),
            format!("{} in {}", self.allowed, span(self.period_seconds)),
            takes,
        ]
    }
}

fn at_least(seconds: u64) -> String {
    format!("at least {}", span(seconds))
}

/// A time in days, hours or minutes, rounded up.
fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let (unit, one, many) = match seconds {
        seconds if seconds >= 2 * DAY => (DAY, "day", "days"),
        seconds if seconds >= 2 * HOUR => (HOUR, "hour", "hours"),
        _ => (MINUTE, "minute", "minutes"),
    };
    count(usize::try_from(seconds.div_ceil(unit)).unwrap_or(usize::MAX), one, many)
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::desired::selection::Selection;
    use serde_json::json;

    use super::*;
    use crate::commands::plan::survey::Survey;
    use crate::kubernetes::ingresses::view;

    /// Plan of this many Ingresses under one registered domain.
    fn many(number: usize) -> Vec<Planned> {
        let ingress = |number| {
            let (name, host) = (format!("shop-{number}"), format!("h{number}.example.com"));
            json!({
                "metadata": {"namespace": "web", "name": name},
                "spec": {"rules": [{"host": host}], "tls": [{"hosts": [host], "secretName": name}]},
            })
        };
        let views = (0..number).map(|n| view(&serde_json::from_value(ingress(n)).unwrap()));
        let survey = Survey::of_views(views.collect(), Selection::default());
        survey.planned()
    }

    #[test]
    fn nine_hundred_ingresses_of_one_domain_take_a_hundred_and_nineteen_days() {
        let text = Summary::of(&many(900), LETS_ENCRYPT).text();
        assert!(text.contains("900 Ingresses: 900 served, 0 partly, 0 not."), "{text}");
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let domain = ["certificates under example.com", "900", "50 in 7 days", "at least 119 days"];
        let account = ["orders of the account", "900", "300 in 3 hours", "at least 6 hours"];
        assert!(lines.contains(&domain.to_vec()) && lines.contains(&account.to_vec()), "{text}");
        assert!(text.contains("All orders take at least 119 days"), "{text}");
    }

    #[test]
    fn what_fits_is_ordered_at_once_and_the_limits_of_another_ca_are_not_known() {
        let few = many(3);
        let text = Summary::of(&few, LETS_ENCRYPT).text();
        assert!(text.contains("All orders fit") && !text.contains("at least"), "{text}");
        let text = Summary::of(&few, "https://ca.internal/directory").text();
        assert!(
            text.contains("3 certificates to order at https://ca.internal/directory"),
            "{text}"
        );
        assert!(text.contains("limits of this CA are not known"), "{text}");
        assert!(!text.contains("LET'S ENCRYPT"), "{text}");
    }

    #[test]
    fn times_are_rounded_up_to_a_unit_that_shows_them() {
        let spans = [36, 3_600, 3 * 3_600, 12_096, 7 * 86_400].map(span);
        assert_eq!(spans, ["1 minute", "60 minutes", "3 hours", "4 hours", "7 days"]);
    }
}
