//! New orders, with profile and `replaces`, and ARI renewal windows (RFC 9773).

use std::collections::BTreeSet;
use std::time::Duration;

use instant_acme::{
    Account, CertificateIdentifier, Error, Identifier, NewOrder, OrderStatus as Status, RenewalInfo,
};

use ingress_acme_actors::domain::certificate::CertId;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::issuance::{OrderStatus, OrderView};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::renewal::RenewalWindow;
use ingress_acme_actors::ports::PortError;

use super::call::Call;
use super::orders::{OpenOrder, unaccepted};
use super::{Acme, CallError};

impl Acme {
    /// Opens an order and caches the order.
    pub(super) async fn order_for(
        &self,
        account: &Account,
        names: &BTreeSet<DnsName>,
        profile: Option<&str>,
        replaces: Option<&CertId>,
    ) -> Result<OrderView, CallError> {
        let identifiers: Vec<_> =
            names.iter().map(|name| Identifier::Dns(name.to_string())).collect();
        let mut wanted = NewOrder::new(&identifiers);
        if let Some(profile) = profile {
            wanted = wanted.profile(profile);
        }
        if let Some(id) = replaces {
            wanted = wanted.replaces(identifier(id));
        }
        let mut order = match account.new_order(&wanted).await {
            Ok(order) => OpenOrder::new(order),
            Err(error) if Call::has_succeeded("new_order") => return Self::opened(&error, names),
            Err(error) => return Err(error.into()),
        };
        order.check_size()?;
        if order.order.state().status != Status::Pending {
            return Ok(OrderView { replaces: replaces.is_some(), ..self.show(order).await? });
        }
        let url = order.order.url().to_owned();
        self.orders.borrow_mut().put(order);
        Ok(OrderView { replaces: replaces.is_some(), ..pending(url, names) })
    }

    /// The order that the CA has opened with an answer that is none: it has no `replaces` (RFC 9773
    /// §5), or cannot be read. The order counts in the CA's limits, so it is used wherever its URL
    /// is known.
    fn opened(error: &Error, names: &BTreeSet<DnsName>) -> Result<OrderView, CallError> {
        let error = cut(error.to_string(), limits::QUOTED_MAX); // may quote the whole answer
        let Some(url) = Call::last_location() else {
            return Err(CallError::lacking(format!(
                "the CA has opened an order and does not tell its URL (RFC 8555 §7.4: {error}); use another CA"
            )));
        };
        tracing::warn!(%error, url, "the CA's answer to a new order deviates from its RFC; the order is used all the same");
        Ok(pending(url, names))
    }

    /// Rejects a profile that the CA does not list: the CA might ignore the profile, or answer with
    /// a less helpful error.
    pub(super) async fn check_profile(
        &self,
        account: &Account,
        profile: &str,
    ) -> Result<(), CallError> {
        let listed: Vec<&str> = account.profiles().map(|meta| meta.name).collect();
        if listed.contains(&profile) {
            return Ok(());
        }
        let mut offers = "it offers no profiles".to_owned();
        if !listed.is_empty() {
            let sorted: BTreeSet<&str> = listed.into_iter().collect();
            let sorted = sorted.into_iter().collect::<Vec<_>>().join(", ");
            offers = format!("it offers {}", cut(sorted, limits::QUOTED_MAX));
        }
        // The list was fetched with the account; the next attempt fetches a new one.
        self.accounts.forget(false).await;
        let detail = format!(
            "the CA has no profile `{profile}`, {offers}; correct ingress-acme.dev/profile or --profile"
        );
        Err(CallError::Port(PortError::permanent(FailureClass::Policy, detail)))
    }

    /// Fetches the CA's renewal window for one certificate; `None` if the CA does not support ARI.
    pub(super) async fn suggested(
        &self,
        id: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, CallError> {
        let account = self.accounts.account().await?;
        Call::set_endpoint("renewal_info");
        match account.renewal_info(&identifier(id)).await {
            Ok((info, _)) => {
                let window = window(info).ok_or_else(|| {
                    let why = "the renewal window of the CA ends before it begins";
                    CallError::Port(PortError::permanent(FailureClass::AcmeServer, why))
                })?;
                Ok(Some((window, Call::last_retry_after())))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(CallError::Acme(error).settled("the CA returned no renewal window")),
        }
    }
}

/// View of a new order, of which only the URL is known.
fn pending(url: String, names: &BTreeSet<DnsName>) -> OrderView {
    let (status, retry_after) = (OrderStatus::Pending, Call::last_retry_after());
    OrderView { url, status, authorizations: unaccepted(names), retry_after, replaces: false }
}

/// Converts to instant-acme's identifier.
fn identifier(id: &CertId) -> CertificateIdentifier<'static> {
    let (key, serial) = id.as_str().split_once('.').unwrap_or_default();
    CertificateIdentifier {
        authority_key_identifier: key.to_owned().into(),
        serial: serial.to_owned().into(),
    }
}

/// Converts an ARI window. One without an end after its start is none (RFC 9773 §4.2). A URL that
/// is too long or contains other characters than a URL is dropped, because each certificate may
/// have one.
fn window(info: RenewalInfo) -> Option<RenewalWindow> {
    let RenewalInfo { suggested_window: window, explanation_url: explanation } = info;
    let [start, end] =
        [window.start, window.end].map(|time| Timestamp::from_secs(time.unix_timestamp()));
    let explanation = explanation.filter(|url| {
        url.len() <= limits::EXPLANATION_MAX && url.bytes().all(|byte| byte.is_ascii_graphic())
    });
    (start < end).then_some(RenewalWindow { start, end, explanation })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_renewal_information_is_a_window_or_an_error(
            start in "[0-9TZ:+-]{0,30}|2026-11-2[0-9]T08:00:00Z", end in "2026-11-[12][0-9]T08:00:00Z",
            explanation in proptest::option::of(".{0,2000}"),
        ) {
            let answer = serde_json::json!({
                "suggestedWindow": {"start": start, "end": end}, "explanationURL": explanation,
            });
            if let Ok(info) = serde_json::from_value::<RenewalInfo>(answer) {
                let Some(window) = window(info) else { return Ok(()) };
                prop_assert!(window.start < window.end);
                let length = window.explanation.map_or(0, |url| url.len());
                prop_assert!(length <= limits::EXPLANATION_MAX);
            }
        }
    }
}
