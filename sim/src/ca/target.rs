//! Paths of the CA and the resources they name.

use super::accounts::AccountId;
use super::ids::Serial;
use super::ids::{AuthorizationId, OrderId};
use super::orders::Kind;

/// Resource named by a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Directory,
    Terms,
    NewNonce,
    NewAccount,
    NewOrder,
    KeyChange,
    Revoke,
    /// Certificate id (RFC 9773 §4.1).
    RenewalInfo(&'a str),
    Account(AccountId),
    Order(AccountId, OrderId),
    Finalize(AccountId, OrderId),
    Authorization(AccountId, AuthorizationId),
    /// `None` is a type that the CA does not validate.
    Challenge(AccountId, AuthorizationId, Option<Kind>),
    /// The flag is true for the alternate chain.
    Certificate(Serial, bool),
    Nothing,
}

impl<'a> Target<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        let elements: Vec<&str> = path.split('/').skip(1).collect();
        Self::of_elements(&elements).unwrap_or(Self::Nothing)
    }

    fn of_elements(elements: &[&'a str]) -> Option<Self> {
        Some(match *elements {
            ["directory"] => Self::Directory,
            ["terms"] => Self::Terms,
            ["acme", "new-nonce"] => Self::NewNonce,
            ["acme", "new-acct"] => Self::NewAccount,
            ["acme", "new-order"] => Self::NewOrder,
            ["acme", "key-change"] => Self::KeyChange,
            ["acme", "revoke-cert"] => Self::Revoke,
            ["acme", "renewal-info", id] => Self::RenewalInfo(id),
            ["acme", "acct", id] => Self::Account(id.parse().ok()?),
            ["acme", "order", account, id] => Self::Order(account.parse().ok()?, id.parse().ok()?),
            ["acme", "finalize", account, id] => {
                Self::Finalize(account.parse().ok()?, id.parse().ok()?)
            }
            ["acme", "authz", account, id] => {
                Self::Authorization(account.parse().ok()?, id.parse().ok()?)
            }
            ["acme", "chall", account, id, kind] => {
                Self::Challenge(account.parse().ok()?, id.parse().ok()?, Kind::of(kind))
            }
            ["acme", "cert", serial] => Self::Certificate(Serial::parse(serial)?, false),
            ["acme", "cert", serial, "1"] => Self::Certificate(Serial::parse(serial)?, true),
            _ => return None,
        })
    }

    /// Name of the endpoint, for counts and limits.
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Terms => "terms",
            Self::NewNonce => "new-nonce",
            Self::NewAccount => "new-account",
            Self::NewOrder => "new-order",
            Self::KeyChange => "key-change",
            Self::Revoke => "revoke-cert",
            Self::RenewalInfo(_) => "renewal-info",
            Self::Account(_) => "account",
            Self::Order(..) => "order",
            Self::Finalize(..) => "finalize",
            Self::Authorization(..) => "authorization",
            Self::Challenge(..) => "challenge",
            Self::Certificate(..) => "certificate",
            Self::Nothing => "nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_about_what_they_name() {
        assert_eq!(Target::of("/directory"), Target::Directory);
        assert_eq!(Target::of("/acme/order/1/7"), Target::Order(1, 7));
        assert_eq!(Target::of("/acme/order/1/seven"), Target::Nothing);
        assert_eq!(
            Target::of("/acme/chall/1/7/http-01"),
            Target::Challenge(1, 7, Some(Kind::Http01))
        );
        assert_eq!(Target::of("/acme/chall/1/7/dns-account-01"), Target::Challenge(1, 7, None));
        let serial = Serial::new(5);
        let path = format!("/acme/cert/{serial}/1");
        assert_eq!(Target::of(&path), Target::Certificate(serial, true));
        assert_eq!(Target::of("/"), Target::Nothing);
    }
}
