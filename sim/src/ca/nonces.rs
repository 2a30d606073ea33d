//! Nonces (RFC 8555 §6.5): each is valid once, and the oldest are forgotten.

use std::collections::{HashSet, VecDeque};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};

use super::problem::Problem;

/// Number of nonces remembered; clients that keep an unused nonce for longer must fetch another.
const REMEMBERED: usize = 100_000;

/// Nonces issued so far.
#[derive(Debug)]
pub(super) struct Nonces {
    random: fastrand::Rng,
    /// Nonces not yet used.
    fresh: HashSet<u64>,
    /// Nonces in order of issue, used or not.
    given: VecDeque<u64>,
    /// Share of valid nonces that are refused, from 0 to 1.
    pub(super) refused: f64,
}

impl Nonces {
    pub(super) fn new(seed: u64) -> Self {
        let (fresh, given) = (HashSet::new(), VecDeque::new());
        Self { random: fastrand::Rng::with_seed(seed), fresh, given, refused: 0.0 }
    }

    /// Issues a nonce.
    pub(super) fn give(&mut self) -> String {
        let nonce = self.random.u64(..);
        self.fresh.insert(nonce);
        self.given.push_back(nonce);
        if self.given.len() > REMEMBERED
            && let Some(oldest) = self.given.pop_front()
        {
            self.fresh.remove(&oldest);
        }
        BASE64URL.encode(nonce.to_be_bytes())
    }

    /// Redeems a nonce.
    pub(super) fn take(&mut self, nonce: Option<&str>) -> Result<(), Problem> {
        let Some(nonce) = nonce else {
            let detail = "JWS has no anti-replay nonce";
            return Err(Problem::new(
                400,
                "badNonce",
                format!("Unable to validate JWS :: {detail}"),
            ));
        };
        let decoded = BASE64URL.decode(nonce).ok();
        let number = decoded.and_then(|octets| Some(u64::from_be_bytes(octets.try_into().ok()?)));
        let known = number.is_some_and(|number| self.fresh.remove(&number));
        if known && !(self.refused > 0.0 && self.random.f64() < self.refused) {
            return Ok(());
        }
        let detail =
            format!("Unable to validate JWS :: JWS has an invalid anti-replay nonce: {nonce:?}");
        Err(Problem::new(400, "badNonce", detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once() {
        let mut nonces = Nonces::new(1);
        let nonce = nonces.give();
        assert_eq!(nonces.take(Some(&nonce)), Ok(()));
        assert_eq!(nonces.take(Some(&nonce)).unwrap_err().kind, "badNonce");
        assert!(nonces.take(None).is_err());
        assert!(nonces.take(Some("nonsense")).is_err());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut nonces = Nonces::new(1);
        let first = nonces.give();
        let second = nonces.give();
        for _ in 0..REMEMBERED - 1 {
            nonces.give();
        }
        assert!(nonces.take(Some(&first)).is_err());
        assert_eq!(nonces.take(Some(&second)), Ok(()));
    }

    #[test]
    fn good_ones_are_refused_on_demand() {
        let mut nonces = Nonces::new(1);
        nonces.refused = 1.0;
        let nonce = nonces.give();
        assert!(nonces.take(Some(&nonce)).is_err());
    }
}
