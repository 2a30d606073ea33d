//! The count of certificates that are ready in time, late, or late for a cause of their user.

use std::time::Duration;

use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::fakes::{Fakes, ingress, named};
use ingress_acme_actors::operator::Settings;
use prometheus_client::encoding::text::encode;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
/// A little shorter than the time of the objective.
const IN_TIME: Duration = Duration::from_secs(290);
/// A little longer than an operator needs to find out that a certificate is late.
const LATE: Duration = Duration::from_secs(310);

/// Numbers of certificates that were in time, late and excused, of all operators.
fn counted(fakes: &Fakes) -> [u64; 3] {
    let mut text = String::new();
    let registry = fakes.shown.metrics.registry("0", "https://ca.example", &fakes.shown.expiries);
    encode(&mut text, &registry).expect("a text");
    ["in_time", "late", "excused"].map(|result| {
        let series = format!("ingress_acme_certificate_readiness_total{{result=\"{result}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&*series));
        value.expect("a sample of each result").parse().expect("a number")
    })
}

fn ca_is_down(fakes: &Fakes, is_down: bool) {
    let failure = is_down.then(|| Failure::new(FailureClass::AcmeServer, "503"));
    fakes.ca.refuse(failure);
}

#[test]
fn a_certificate_that_is_ready_counts_once_and_edits_and_renewals_do_not_count() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["shop.example.com"]));
        fakes.pass(60 * SECOND).await;
        assert_eq!(counted(&fakes), [1, 0, 0]);
        let mut edited = ingress("web", "shop", &["shop.example.com"]);
        edited.annotations.insert("renew".to_owned(), "now".to_owned());
        fakes.cluster.apply(edited);
        fakes.pass(70 * 24 * HOUR).await;
        assert!(fakes.ca.issued().len() > 2, "it was renewed");
        assert_eq!(counted(&fakes), [1, 0, 0]);
        fakes.cluster.apply(ingress("web", "shop", &["shop.example.com", "new.example.com"]));
        fakes.pass(60 * SECOND).await;
        assert_eq!(counted(&fakes), [2, 0, 0], "one more host is one more wait");
    });
}

#[test]
fn a_dead_host_is_excused_and_does_not_count_again_when_it_is_mended() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.unresolve("dead.example.com", true);
        fakes.cluster.apply(ingress("web", "dead", &["dead.example.com"]));
        fakes.pass(IN_TIME).await;
        assert_eq!(counted(&fakes), [0, 0, 0]);
        fakes.pass(24 * HOUR).await;
        assert_eq!(counted(&fakes), [0, 0, 1]);
        fakes.cluster.unresolve("dead.example.com", false);
        fakes.pass(HOUR).await;
        assert_eq!(fakes.ca.issued().len(), 1);
        assert_eq!(counted(&fakes), [0, 0, 1]);
    });
}

#[test]
fn an_outage_of_the_ca_makes_each_certificate_late_once_whatever_leads_meanwhile() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        ca_is_down(&fakes, true);
        for name in ["one", "two"] {
            fakes.cluster.apply(named("web", name, &[&format!("{name}.example.com")]));
        }
        fakes.pass(LATE).await;
        assert_eq!(counted(&fakes), [0, 2, 0]);
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(HOUR).await;
        assert_eq!(counted(&fakes), [0, 2, 0], "the leader before has counted them");
        ca_is_down(&fakes, false);
        fakes.pass(24 * HOUR).await;
        assert_eq!((fakes.ca.issued().len(), counted(&fakes)), (2, [0, 2, 0]));
    });
}

#[test]
fn a_change_of_the_leader_does_not_give_a_certificate_more_time() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        ca_is_down(&fakes, true);
        fakes.cluster.apply(named("web", "shop", &["shop.example.com"]));
        fakes.pass(limits::READY_WITHIN / 2).await;
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(LATE / 4).await;
        assert_eq!(counted(&fakes), [0, 0, 0]);
        // The next attempt, 10 minutes after the second failure, reads the Secret again.
        fakes.pass(10 * 60 * SECOND).await;
        ca_is_down(&fakes, false);
        fakes.pass(24 * HOUR).await;
        assert_eq!((fakes.ca.issued().len(), counted(&fakes)), (1, [0, 1, 0]));
    });
}

#[test]
fn an_order_without_a_result_is_late_and_what_is_deleted_before_its_time_counts_for_nothing() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Settings { issuers: 1, ..Fakes::settings() }).await;
        fakes.ca.never_validate();
        for name in ["one", "two", "three"] {
            fakes.cluster.apply(named("web", name, &[&format!("{name}.example.com")]));
        }
        fakes.pass(limits::READY_WITHIN / 2).await;
        fakes.cluster.delete(&IngressKey::new("web", "three"));
        fakes.pass(LATE).await;
        assert_eq!(counted(&fakes), [0, 2, 0]);
    });
}
