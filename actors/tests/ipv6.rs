//! Hosts that lead elsewhere over IPv6 than over IPv4, on fakes: one Event for each, and the order
//! goes on.

use std::time::Duration;

use ingress_acme_actors::domain::issuance::OverIpv6;
use ingress_acme_actors::fakes::{Fakes, shop};

const MINUTE: Duration = Duration::from_mins(1);
const HOST: &str = "a.example.com";

fn elsewhere(what: &str) -> OverIpv6 {
    OverIpv6::Elsewhere(what.to_owned())
}

/// Notes about IPv6.
fn notes(fakes: &Fakes) -> Vec<String> {
    let all = fakes.cluster.events("web", "shop").into_iter();
    all.map(|event| event.note).filter(|note| note.contains("over IPv6")).collect()
}

/// Requests one more certificate, and waits for it.
async fn renew(fakes: &Fakes, value: &str) {
    let mut view = shop();
    view.annotations.insert("renew".to_owned(), value.to_owned());
    fakes.cluster.apply(view);
    fakes.pass(MINUTE).await;
}

#[test]
fn a_difference_is_told_once_for_each_text_and_stops_no_order() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.set_over_ipv6(HOST, elsewhere("another server answered, HTTP 4xx"));
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let told = notes(&fakes);
        assert!(
            told.len() == 1 && told[0].contains("another server answered, HTTP 4xx"),
            "{told:?}"
        );
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));

        renew(&fakes, "again").await;
        fakes.cluster.set_over_ipv6(HOST, OverIpv6::Silent("network unreachable".to_owned()));
        renew(&fakes, "silent").await;
        fakes.cluster.set_over_ipv6(HOST, elsewhere("another server answered, HTTP 4xx"));
        renew(&fakes, "once more").await;
        assert_eq!(notes(&fakes).len(), 1, "known already");
        fakes.cluster.set_over_ipv6(HOST, elsewhere("connection refused"));
        renew(&fakes, "refused").await;
        assert!(notes(&fakes)[1].contains("connection refused"));
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (5, 5));
    });
}

#[test]
fn a_host_that_was_mended_is_told_again_when_it_differs_again() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.set_over_ipv6(HOST, elsewhere("connection refused"));
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        fakes.cluster.set_over_ipv6(HOST, OverIpv6::Reached);
        renew(&fakes, "mended").await;
        assert_eq!(notes(&fakes).len(), 1);
        fakes.cluster.set_over_ipv6(HOST, elsewhere("connection refused"));
        renew(&fakes, "broken again").await;
        assert_eq!((notes(&fakes).len(), fakes.ca.issued().len()), (2, 3));
    });
}

#[test]
fn a_host_that_is_not_reached_is_not_asked_over_ipv6() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.set_over_ipv6(HOST, elsewhere("connection refused"));
        fakes.cluster.cut(HOST, true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!((fakes.cluster.calls("over_ipv6"), notes(&fakes)), (0, Vec::new()));
        assert!(fakes.cluster.calls("probe") > 0);
    });
}
