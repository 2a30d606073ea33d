//! Conformance of the simulated CA to Pebble: the same behaviours are asserted of both.
//!
//! Pebble is slow to start, so all behaviours share one Pebble; each starts its own simulated CA.
//! Behaviour of the simulated CA alone, such as rate limits, is in `simulated`; what CAs have
//! announced is in `years_to_come`.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "acme/accounts.rs"]
mod accounts;
#[path = "acme/adapter.rs"]
mod adapter;
#[path = "acme/behaviours.rs"]
mod behaviours;
#[path = "acme/chains.rs"]
mod chains;
#[path = "acme/client.rs"]
mod client;
#[path = "acme/deviating.rs"]
mod deviating;
#[path = "acme/in_dns.rs"]
mod in_dns;
#[path = "acme/revocations.rs"]
mod revocations;
#[path = "acme/shared_key.rs"]
mod shared_key;
#[path = "acme/simulated.rs"]
mod simulated;
#[path = "acme/test_ca.rs"]
mod test_ca;
#[path = "acme/years_to_come.rs"]
mod years_to_come;

use ingress_acme_control_plane::{World, retry_when_wedged_with};
use test_ca::TestCa;

macro_rules! behaviours {
    ($($name:ident)*) => {
        mod of_the_simulated_ca {
            use super::{TestCa, behaviours};

            $(
                #[tokio::test]
                async fn $name() {
                    behaviours::$name(&TestCa::simulated()).await;
                }
            )*
        }

        #[tokio::test]
        async fn pebble_behaves_so_too() {
            retry_when_wedged_with(3, &test_ca::options(), async |world: &World| {
                let test_ca = TestCa::pebble(world);
                $(
                    println!("{}: {}", test_ca.name(), stringify!($name));
                    behaviours::$name(&test_ca).await;
                )*
            })
            .await;
        }
    };
}

behaviours! {
    the_directory_lists_resources_and_profiles
    a_nonce_comes_with_head_get_and_every_answer_and_is_good_once
    a_key_has_one_account
    an_account_takes_contacts_until_it_is_deactivated
    an_account_rolls_over_to_a_new_key
    a_request_that_is_not_signed_as_it_must_be_is_refused
    a_request_of_another_kind_is_refused
    an_order_names_an_authorization_for_each_name
    an_order_that_cannot_be_is_refused
    orders_of_nobody_and_of_others_are_not_shown
    an_order_is_finalized_when_it_is_ready_with_a_csr_for_its_names_once
    a_certificate_is_under_the_root_and_for_its_account_alone
    a_failed_validation_is_reported_in_the_authorization_and_ends_the_order
    a_deactivated_authorization_ends_the_order
    renewal_information_is_there_until_revocation_and_names_a_window
    a_certificate_is_replaced_once
}
