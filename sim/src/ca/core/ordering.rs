//! Orders, from creation to the certificate (RFC 8555 §7.4).

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::accounts::AccountId;
use super::super::certificates::{Record, parse_id};
use super::super::ids::OrderId;
use super::super::ids::Serial;
use super::super::issuing::{Leaf, Request};
use super::super::limits::{Exemption, LimitedOrder};
use super::super::names::{Names, SetId};
use super::super::orders::{Order, Replaces, Status, Wanted, span};
use super::super::problem::Problem;
use super::super::profiles::profile;
use super::Core;

/// Longest time by which `notBefore` precedes issuance; short lifetimes are backdated by a tenth of
/// the lifetime.
const BACKDATED: Duration = Duration::from_hours(1);

/// Payload of `newOrder` (RFC 8555 §7.4, RFC 9773 §5, draft-aaron-acme-profiles §4).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::ca) struct NewOrder {
    #[serde(default)]
    identifiers: Vec<Identifier>,
    #[serde(default)]
    not_before: Option<String>,
    #[serde(default)]
    not_after: Option<String>,
    #[serde(default)]
    replaces: Option<String>,
    #[serde(default)]
    pub(super) profile: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Identifier {
    r#type: String,
    value: String,
}

impl NewOrder {
    fn names(&self) -> Result<Vec<String>, Problem> {
        if self.identifiers.is_empty() {
            return Err(Problem::malformed("NewOrder request did not specify any identifiers"));
        }
        if self.not_before.is_some() || self.not_after.is_some() {
            return Err(Problem::malformed("NotBefore and NotAfter are not supported"));
        }
        if let Some(Identifier { r#type, value }) =
            self.identifiers.iter().find(|identifier| identifier.r#type != "dns")
        {
            let detail = format!(
                "NewOrder request included unsupported identifier: type {type:?}, value {value:?}"
            );
            return Err(Problem::new(400, "unsupportedIdentifier", detail));
        }
        Ok(self.identifiers.iter().map(|identifier| identifier.value.clone()).collect())
    }

    /// Creates a payload with only names and `replaces`, for tests.
    #[cfg(test)]
    pub(in crate::ca) fn of(names: &[&str], replaces: Option<String>) -> Self {
        let identifier =
            |name: &&str| Identifier { r#type: "dns".to_owned(), value: (*name).to_owned() };
        let identifiers = names.iter().map(identifier).collect();
        Self { identifiers, not_before: None, not_after: None, replaces, profile: None }
    }
}

/// An order with its current status.
#[derive(Clone, Debug)]
pub(in crate::ca) struct OrderView {
    pub(in crate::ca) order: Order,
    pub(in crate::ca) status: Status,
}

impl OrderView {
    /// Returns the certificate once the order is valid.
    pub(in crate::ca) fn certificate(&self) -> Option<Serial> {
        let issued = self.order.issued.filter(|_| self.status == Status::Valid);
        issued.map(|(serial, _)| serial)
    }
}

impl Core {
    pub(in crate::ca) fn new_order(
        &mut self,
        account: AccountId,
        asked: NewOrder,
        now: Timestamp,
    ) -> Result<OrderView, Problem> {
        self.accounts.active(account)?;
        let names = self.policy.check(&asked.names()?)?;
        let set = SetId::of(&names);
        let (replaces, exemption) = self.exemption((account, &names, set), asked.replaces, now)?;
        let profile = profile(asked.profile.as_deref())?;
        if names.len() > profile.names_max {
            let most = profile.names_max;
            let detail = "Error creating new order :: Order cannot contain more than";
            return Err(Problem::malformed(format!("{detail} {most} identifiers")));
        }
        self.meter.order(LimitedOrder { account, names: &names, set, exemption }, now)?;
        let wanted = Wanted { account, names, set, profile, replaces, exemption };
        let reusable = self.settings.reuse_orders && wanted.replaces.is_none();
        if let Some(id) = self.orders.same(&wanted, now).filter(|_| reusable) {
            return self.order(account, id, now);
        }
        let replaced = wanted.replaces.as_ref().map(|replaces| replaces.serial);
        let (id, forgotten) = self.orders.open(wanted, &mut self.random, now);
        if let Some(record) = replaced.and_then(|serial| self.certificates.get_mut(serial)) {
            record.replaced_by = Some(id);
        }
        for serial in forgotten {
            if let Some(record) = self.certificates.get_mut(serial) {
                record.leaf = None;
            }
        }
        self.order(account, id, now)
    }

    /// Returns the certificate that an order replaces and the exemption from rate limits (RFC 9773
    /// §5).
    fn exemption(
        &self,
        (account, names, set): (AccountId, &Names, SetId),
        replaces: Option<String>,
        now: Timestamp,
    ) -> Result<(Option<Replaces>, Exemption), Problem> {
        let new = || {
            let renewal = self.certificates.is_renewal(set, now);
            if renewal { Exemption::Renewal } else { Exemption::No }
        };
        let Some(id) = replaces.filter(|id| !id.is_empty()) else { return Ok((None, new())) };
        let detailed = |problem: Problem| {
            let detail = format!("Could not validate ARI 'replaces' field :: {}", problem.detail);
            Problem { detail, ..problem }
        };
        let serial = parse_id(&id, &self.signing.key_id).map_err(detailed)?;
        self.replaceable(serial, (account, names), now).map_err(detailed)?;
        let window = self.certificates.renewal_window(serial, now).map_err(detailed)?;
        let within = window.start <= now && now < window.end;
        let exemption = if within { Exemption::Replacement } else { new() };
        Ok((Some(Replaces { id, serial }), exemption))
    }

    fn replaceable(
        &self,
        serial: Serial,
        (account, names): (AccountId, &Names),
        now: Timestamp,
    ) -> Result<(), Problem> {
        let record = self.certificates.get(serial)?;
        if record.replaced_by.is_some_and(|order| self.orders.is_alive(order, now)) {
            let detail = format!(
                "cannot indicate an order replaces certificate with serial \"{serial}\", which already has a replacement order"
            );
            return Err(Problem::new(409, "alreadyReplaced", detail));
        }
        if record.account != account {
            let detail =
                "requester account did not request the certificate being replaced by this order";
            return Err(Problem::unauthorized(detail));
        }
        if !names.iter().any(|name| record.names.contains(name)) {
            let detail = "identifiers in this order do not match any identifiers in the certificate being replaced";
            return Err(Problem::malformed(detail));
        }
        Ok(())
    }

    pub(in crate::ca) fn order(
        &self,
        account: AccountId,
        id: OrderId,
        now: Timestamp,
    ) -> Result<OrderView, Problem> {
        let order = self.orders.get(account, id)?;
        Ok(OrderView { status: self.orders.status(order, now), order: order.clone() })
    }

    /// Signs the CSR at once; clients see the certificate after the processing delay.
    pub(in crate::ca) fn finalize(
        &mut self,
        account: AccountId,
        id: OrderId,
        csr: &[u8],
        now: Timestamp,
    ) -> Result<OrderView, Problem> {
        let OrderView { order, status } = self.order(account, id, now)?;
        if status != Status::Ready {
            let status = status.name();
            let detail =
                format!("Order's status (\"{status}\") is not acceptable for finalization");
            return Err(Problem::new(403, "orderNotReady", detail));
        }
        let request = Request::parse(csr)?;
        if !request.names.iter().map(String::as_str).eq(order
            .wanted
            .names
            .iter()
            .map(AsRef::as_ref))
        {
            return Err(Problem::unauthorized(
                "Error finalizing order :: CSR does not specify same identifiers as Order",
            ));
        }
        if request.has_point(self.accounts.active(account)?.key.point()) {
            let detail = "Error finalizing order :: certificate public key must be different than account public key";
            return Err(Problem::malformed(detail));
        }
        let at = now + span(self.settings.processing);
        let serial = self.sign(&order.wanted, &request, at)?;
        self.orders.issue(id, serial, at);
        let Wanted { set, exemption, ref names, .. } = order.wanted;
        self.meter.issued(LimitedOrder { account, names, set, exemption }, now);
        self.order(account, id, now)
    }

    fn sign(&mut self, wanted: &Wanted, of: &Request, at: Timestamp) -> Result<Serial, Problem> {
        let life = self.settings.life_of(wanted.profile);
        let seconds = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
        let not_before = seconds(at - span(BACKDATED.min(life / 10)));
        // `notAfter` is inclusive (RFC 5280 §4.1.2.5).
        let not_after = seconds(not_before + span(life)) - span(Duration::from_secs(1));
        let serial = Serial::new(self.random.u128(..));
        let (names, key) = (&wanted.names, &of.key);
        let leaf = Leaf { names, key, serial, not_before, not_after };
        let failed = |failed: rcgen::Error| Problem::new(500, "serverInternal", failed.to_string());
        let leaf = self.signing.sign(&leaf).map_err(failed)?;
        let record = Record {
            account: wanted.account,
            names: wanted.names.clone(),
            profile: wanted.profile.name,
            not_before,
            not_after,
            at,
            replaces: wanted.replaces.as_ref().map(|replaces| replaces.serial),
            revoked_at: None,
            leaf: Some(leaf.to_vec()),
            replaced_by: None,
            window: None,
        };
        self.certificates.add(serial, wanted.set, record);
        Ok(serial)
    }
}
