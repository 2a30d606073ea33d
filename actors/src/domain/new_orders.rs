//! Switch for new orders: an annotation of the operator's Lease, which its user sets with kubectl.
//!
//! The switch stops orders for certificates that are not there yet. Renewals, open orders and
//! challenges go on. A value that is neither of the two stops nothing, and is told.

use crate::domain::cut::cut;
use crate::domain::limits;

/// The annotation of the Lease.
pub const NEW_ORDERS_ANNOTATION: &str = "ingress-acme.dev/new-orders";

/// Name of the Lease, in the operator's namespace.
pub const LEASE: &str = "ingress-acme";

/// Value of the annotation that stops new orders, alone or followed by `: REASON`.
pub const STOPPED: &str = "stopped";

/// Value of the annotation that allows new orders, as if there were none.
const ALLOWED: &str = "allowed";

/// Position of the switch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum NewOrders {
    /// New orders are sent.
    #[default]
    Allowed,
    /// New orders wait.
    Stopped {
        /// Words of the user who stopped them; empty without any.
        reason: String,
    },
    /// New orders are sent, because the value of the annotation is neither of the two.
    Unknown {
        /// The value, cut.
        value: String,
    },
}

impl NewOrders {
    /// Reads the value of the annotation; `None` without the annotation.
    pub fn of(value: Option<&str>) -> Self {
        let value = value.unwrap_or_default().trim();
        if value.is_empty() || value == ALLOWED {
            return Self::Allowed;
        }
        let reason = value.strip_prefix(STOPPED).map(str::trim_start);
        match reason.map(|rest| (rest.is_empty(), rest.strip_prefix(':'))) {
            Some((true, _)) => Self::Stopped { reason: String::new() },
            Some((false, Some(reason))) => {
                Self::Stopped { reason: cut(reason.trim(), limits::STOP_REASON_MAX) }
            }
            _ => Self::Unknown { value: cut(value, limits::STOP_REASON_MAX) },
        }
    }

    /// Whether new orders wait.
    pub fn are_stopped(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }

    /// Text for the log and the status page; `None` while new orders are allowed.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::Allowed => None,
            Self::Stopped { reason } => Some(format!("New orders are stopped{}", because(reason))),
            Self::Unknown { value } => Some(format!(
                "New orders go on: the annotation {NEW_ORDERS_ANNOTATION} of the operator's Lease has the value \
                 \"{value}\", and only \"{STOPPED}\" or \"{STOPPED}: REASON\" stops them"
            )),
        }
    }
}

/// The reason in brackets, if there is one.
pub(crate) fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stopped(reason: &str) -> NewOrders {
        NewOrders::Stopped { reason: reason.to_owned() }
    }

    #[test]
    fn one_word_stops_new_orders_and_may_have_a_reason() {
        for (value, position) in [
            ("stopped", stopped("")),
            (" stopped ", stopped("")),
            ("stopped:", stopped("")),
            ("stopped: incident 42, ask anna", stopped("incident 42, ask anna")),
            ("stopped : incident 42", stopped("incident 42")),
            ("", NewOrders::Allowed),
            ("allowed", NewOrders::Allowed),
        ] {
            assert_eq!(NewOrders::of(Some(value)), position, "{value}");
        }
        assert_eq!(NewOrders::of(None), NewOrders::Allowed);
    }

    #[test]
    fn any_other_value_stops_nothing_and_is_told_with_the_value_that_would() {
        for value in ["true", "stop", "Stopped", "stoppedby anna", "stopped by anna", "allowed: no"]
        {
            let read = NewOrders::of(Some(value));
            assert_eq!(read, NewOrders::Unknown { value: value.to_owned() });
            assert!(!read.are_stopped());
            let note = read.note().unwrap();
            assert!(note.contains(value) && note.contains("\"stopped\""), "{note}");
        }
        assert_eq!(NewOrders::Allowed.note(), None);
        assert_eq!(stopped("").note().unwrap(), "New orders are stopped");
        assert_eq!(stopped("x").note().unwrap(), "New orders are stopped (x)");
    }

    proptest! {
        /// An annotation may have 256 KiB of anything.
        #[test]
        fn what_is_said_of_any_value_is_short_and_has_no_control_characters(
            value in "(stopped ?:? ?)?.{0,20}[\\x00-\\x1f]?.{0,900}",
        ) {
            let read = NewOrders::of(Some(&value));
            prop_assert_eq!(read.are_stopped(), matches!(read, NewOrders::Stopped { .. }));
            let note = read.note().unwrap_or_default();
            prop_assert!(note.len() <= limits::STOP_REASON_MAX + 250, "{}", note);
            prop_assert!(!note.chars().any(char::is_control), "{}", note);
        }
    }
}
