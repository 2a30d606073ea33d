//! The directory alone (RFC 8555 §7.1.1), for `doctor`: terms, profiles, CAA identities, and the
//! CA's time. No account is needed, and no other request is sent.

use bytes::Bytes;
use http::Method;
use http::header::HeaderMap;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::doctor::ca::Directory;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::PortError;
use instant_acme::Error;
use serde_json::Value;

use super::Acme;
use super::call_error::CallError;
use super::retry_after::sent_at;

/// An answer of the CA about its directory.
#[derive(Clone, Debug, Default)]
pub struct DirectoryLook {
    /// Fields for the user.
    pub directory: Directory,
    /// `meta.caaIdentities`.
    pub identities: Vec<String>,
    /// Time of the answer by the CA's clock.
    pub sent: Option<Timestamp>,
}

impl Acme {
    /// Fetches the directory, and nothing else.
    pub async fn directory_look(&self) -> Result<DirectoryLook, PortError> {
        self.within("the directory was not read", async || {
            let (url, transport) = (&self.accounts.directory, &self.accounts.transport);
            let nothing = (HeaderMap::new(), Bytes::new());
            let answer = transport.answer("directory", (Method::GET, url), nothing).await;
            let answer = answer.map_err(|error| CallError::Acme(Error::Other(Box::new(error))))?;
            transport.read_directory(url, &answer)?;
            Ok(DirectoryLook {
                directory: read(&answer.body),
                identities: transport.caa_identities(),
                sent: sent_at(&answer.headers),
            })
        })
        .await
    }
}

/// Fields for the user, bounded: another program shows them.
fn read(body: &[u8]) -> Directory {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let meta = &document["meta"];
    let bounded = |text: &str| cut(text, limits::QUOTED_MAX);
    let profiles = meta["profiles"].as_object().into_iter().flat_map(|all| all.keys());
    Directory {
        terms: meta["termsOfService"].as_str().map(bounded),
        external_account: meta["externalAccountRequired"].as_bool().unwrap_or_default(),
        profiles: profiles.take(limits::CAA_RECORDS).map(|name| bounded(name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn terms_profiles_and_the_need_of_an_external_account_are_read() {
        let meta = json!({
            "termsOfService": "https://ca.example/terms",
            "externalAccountRequired": true,
            "profiles": {"classic": "the usual", "shortlived": "six days"},
        });
        let found = read(json!({ "meta": meta }).to_string().as_bytes());
        assert_eq!(found.terms.as_deref(), Some("https://ca.example/terms"));
        assert!(found.external_account);
        assert_eq!(found.profiles, ["classic", "shortlived"]);
        assert_eq!(read(b"{}"), Directory::default());
    }

    proptest! {
        #[test]
        fn any_body_gives_bounded_texts(
            terms in ".{0,2000}", profiles in prop::collection::btree_map(".{0,900}", ".{0,9}", 0..60),
            noise in prop::collection::vec(any::<u8>(), 0..99),
        ) {
            let meta = json!({"termsOfService": terms, "profiles": profiles});
            for body in [json!({ "meta": meta }).to_string().into_bytes(), noise] {
                let found = read(&body);
                let texts = found.profiles.iter().chain(&found.terms);
                prop_assert!(texts.clone().all(|text| text.len() <= limits::QUOTED_MAX));
                prop_assert!(texts.count() <= limits::CAA_RECORDS + 1);
            }
        }
    }
}
