//! The two faults of a view that found most bugs in other operators (Sieve, Acto), at every
//! position: a change of an Ingress that is lost, repeated, late or followed by an old list, and a
//! read of a Secret that shows the state before its last write. Crashes at every position are in
//! `crashes.rs`, and several faults together in `invariants.rs`.

use std::time::Duration;

use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use ingress_acme_actors::fakes::{Distortion, Fakes, ingress, shop, with_tls};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// What a user does within a minute: changes, deletes and makes Ingresses again, shares a Secret,
/// and deletes a Secret.
async fn story(fakes: &Fakes) {
    fakes.cluster.apply(shop());
    fakes.pass(5 * SECOND).await;
    fakes.cluster.apply(with_tls("shop", "shop", &["a.example.com", "b.example.com"]));
    fakes.pass(5 * SECOND).await;
    fakes.cluster.apply(ingress("web", "plain", &["plain.example.com"]));
    fakes.cluster.apply(with_tls("other", "shop", &["c.example.com"]));
    fakes.pass(10 * SECOND).await;
    fakes.cluster.delete_secret(&SecretKey::new("web", "shop"));
    fakes.cluster.apply(with_tls("shop", "moved", &["a.example.com"]));
    fakes.pass(5 * SECOND).await;
    fakes.cluster.delete(&IngressKey::new("web", "plain"));
    fakes.pass(SECOND / 2).await;
    fakes.cluster.apply(ingress("web", "plain", &["plain.example.com", "new.example.com"]));
    fakes.pass(20 * SECOND).await;
}

/// Plays the story with the faults that `distort` asks for. Returns the numbers of changes and of
/// reads of Secrets in it.
fn play(distort: impl FnOnce(&Fakes) + 'static) -> (usize, usize) {
    Fakes::paused(async move {
        let fakes = Fakes::default();
        fakes.cluster.set_latency(SECOND / 20);
        fakes.operator(Fakes::settings()).await;
        distort(&fakes);
        story(&fakes).await;
        let of_the_story = fakes.cluster.distortable();
        // A watch that has lost a change ends with 410 Gone, and the list heals it.
        fakes.cluster.end_distortions();
        fakes.cluster.relist();
        fakes.assert_stable().await;
        for (secret, names) in [
            ("shop", &["c.example.com"] as &[_]),
            ("moved", &["a.example.com"]),
            ("plain-tls", &["new.example.com", "plain.example.com"]),
        ] {
            assert_eq!(fakes.cluster.names("web", secret), names, "{secret}");
        }
        let issued = fakes.ca.issued().len();
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(2 * HOUR).await;
        assert_eq!(fakes.ca.issued().len(), issued, "a restart issues nothing");
        of_the_story
    })
}

#[test]
fn a_change_that_is_lost_repeated_late_or_followed_by_an_old_list_leaves_the_newest_served() {
    let (changes, _) = play(|_| {});
    for how in Distortion::ALL {
        for position in 0..changes {
            eprintln!("{how:?} at change {position} of {changes}");
            play(move |fakes| fakes.cluster.distort(position, how));
        }
    }
}

#[test]
fn a_secret_that_is_read_as_it_was_before_its_last_write_is_in_the_end_as_wanted() {
    let (_, reads) = play(|_| {});
    for position in 0..reads {
        eprintln!("old read {position} of {reads}");
        play(move |fakes| fakes.cluster.read_old(position));
    }
}
