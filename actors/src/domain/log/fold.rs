//! Fold of journaled records to the state of their event stream: one rule for the ledger, for the
//! live records and for the replay.
//!
//! A record that is illegal in its state stops nobody's start. It is the last word about its event
//! stream: the issuance before it is set aside, remembered failures stay, and the record counts if
//! it is legal then. So a journal with a decision that was made twice goes on with the second one,
//! as its writer did.

use crate::domain::issuance::{Event, IllegalEvent, Record, State, apply};

/// Folds the next record of a stream. Also returns why the record did not fit, if it did not.
pub fn fold(state: State, record: &Record) -> (State, Option<IllegalEvent>) {
    match apply(state.clone(), &record.event, record.at) {
        Ok(after) => (after, None),
        Err(illegal) => (set_aside(state, record), Some(illegal)),
    }
}

/// State after a record that is illegal in `state`.
fn set_aside(state: State, record: &Record) -> State {
    match (state, &record.event) {
        (State::Ordered { issuance, .. }, Event::OrderOpened(opened)) => {
            State::Ordered { issuance, url: opened.url.clone(), opened_at: record.at }
        }
        (state, Event::IssuanceStarted(_)) => {
            let failing = state.failing().cloned().map_or(State::Idle, State::Failing);
            apply(failing, &record.event, record.at).unwrap_or_default()
        }
        // The certificate is in its Secret, whatever its order was.
        (State::Started(issuance), Event::CertificateInstalled(installed)) => {
            let failing = issuance.before.filter(|_| !installed.all_left_out().is_empty());
            failing.map_or(State::Idle, |failing| State::Failing(*failing))
        }
        (state, _) => state,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::certificate::PrivateKey;
    use crate::domain::desired::desired_certificate::tests::desired;
    use crate::domain::desired::plan::tests::names;
    use crate::domain::failure::{Failure, FailureClass};
    use crate::domain::ingress::SecretKey;
    use crate::domain::issuance::{CertificateInstalled, Command, NewIssuance, decide};
    use crate::domain::time::Timestamp;

    fn record(event: Event) -> Record {
        Record { stream: SecretKey::new("web", "shop"), at: Timestamp::from_secs(7), event }
    }

    fn started(key: &str) -> Record {
        let key = PrivateKey::from_pem(key.to_owned());
        let beginning = NewIssuance::of(desired("shop", &["a.example.com"]), key);
        let command = Command::Begin(Box::new(beginning));
        record(decide(&State::Idle, command, Timestamp::default()).unwrap())
    }

    fn opened(url: &str) -> Record {
        let after = fold(State::Idle, &started("k")).0;
        record(decide(&after, Command::Opened(url.to_owned()), Timestamp::default()).unwrap())
    }

    fn failed() -> Record {
        let failure = Failure::new(FailureClass::Authorization, "no");
        let command = Command::Fail(desired("shop", &["a.example.com"]).attempted(), failure);
        record(decide(&State::Idle, command, Timestamp::default()).unwrap())
    }

    fn folded(records: &[Record]) -> (State, usize) {
        records.iter().fold((State::Idle, 0), |(state, misfits), record| {
            let (state, misfit) = fold(state, record);
            (state, misfits + usize::from(misfit.is_some()))
        })
    }

    #[test]
    fn of_a_decision_that_was_made_twice_the_second_one_counts() {
        let (state, misfits) =
            folded(&[failed(), started("first"), started("second"), opened("u"), opened("v")]);
        let State::Ordered { issuance, url, .. } = state else { panic!("{state:?}") };
        assert_eq!((issuance.key.pem(), &*url, misfits), ("second", "v", 2));
        assert!(issuance.before.is_some(), "the failures before are remembered");
    }

    #[test]
    fn an_order_without_its_issuance_is_dropped_and_the_failures_before_stay() {
        let (state, misfits) = folded(&[failed(), opened("u")]);
        assert!(matches!(state, State::Failing(_)), "{state:?}");
        assert_eq!(misfits, 1);
        assert_eq!(folded(&[opened("u")]), (State::Idle, 1));
    }

    #[test]
    fn the_record_after_a_misfit_is_folded_as_any_other() {
        let (state, misfits) = folded(&[opened("u"), started("k"), opened("v")]);
        assert!(matches!(state, State::Ordered { .. }), "{state:?}");
        assert_eq!(misfits, 1);
    }

    #[test]
    fn an_installation_without_its_order_ends_the_failures_unless_names_are_left_out() {
        let installed = |left_out: &[&str]| {
            let left_out = names(left_out);
            let (serial, not_after) = ("01".to_owned(), Timestamp::from_secs(9));
            record(Event::CertificateInstalled(CertificateInstalled {
                serial,
                not_after,
                left_out,
                left_out_wildcards: BTreeSet::new(),
            }))
        };
        let folded = |last: Record| folded(&[failed(), started("k"), last]);
        assert_eq!(folded(installed(&[])), (State::Idle, 1));
        let (state, misfits) = folded(installed(&["a.example.com"]));
        assert!(matches!(state, State::Failing(_)), "{state:?}");
        assert_eq!(misfits, 1);
    }
}
