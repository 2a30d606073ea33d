//! Values of an account's keys. None of them is ever shown: texts of providers, which may echo a
//! request, are redacted before anybody sees them.

use std::collections::BTreeMap;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine};
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::dns::account_secret::{COMMON_KEYS, Data};
use ingress_acme_actors::domain::limits;
use zeroize::Zeroizing;

/// Shortest part of a value that is redacted by itself, such as a line of a key in PEM. Shorter
/// parts are words like `BEGIN`.
const PART: usize = 12;
/// Word before a token in a header.
const BEARER: &str = "Bearer ";
/// Stands for a credential in a text.
const REDACTED: &str = "[redacted]";

/// A key of an account's Secret.
pub struct Key {
    /// Name of the key.
    pub name: &'static str,
    /// Whether an account without the key cannot be used.
    pub is_required: bool,
    /// Whether the value is never shown.
    pub is_secret: bool,
}

impl Key {
    pub(super) const fn required(name: &'static str) -> Self {
        Self { name, is_required: true, is_secret: false }
    }

    pub(super) const fn secret(name: &'static str) -> Self {
        Self { name, is_required: true, is_secret: true }
    }

    pub(super) const fn option(name: &'static str) -> Self {
        Self { name, is_required: false, is_secret: false }
    }

    pub(super) const fn optional_secret(name: &'static str) -> Self {
        Self { name, is_required: false, is_secret: true }
    }
}

/// Values of the keys of one account.
pub(super) struct Credentials {
    values: BTreeMap<&'static str, Zeroizing<String>>,
    redaction: Redaction,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads the keys that the provider knows.
    ///
    /// # Errors
    /// Names the key that is missing, or one that the provider does not know: a key with a wrong
    /// letter would otherwise count as not given.
    pub(super) fn read(keys: &'static [Key], data: &Data<'_>) -> Result<Self, String> {
        let known = |name: &str| keys.iter().any(|key| key.name == name);
        let unknown = data.keys().find(|name| !COMMON_KEYS.contains(*name) && !known(name));
        if let Some(unknown) = unknown {
            let unknown = cut(*unknown, limits::SHOWN_MAX);
            return Err(format!("it has a key `{unknown}`, which {}", those_there_are(keys)));
        }
        let mut values = BTreeMap::new();
        for key in keys {
            match data.get(key.name).filter(|value| !value.is_empty()) {
                Some(value) => {
                    _ = values.insert(key.name, Zeroizing::new((*value).to_owned()));
                }
                None if key.is_required => {
                    return Err(format!("it has no key `{}`", key.name));
                }
                None => {}
            }
        }
        let secret = keys.iter().filter(|key| key.is_secret);
        let secret = secret.filter_map(|key| values.get(key.name)).map(|value| value.as_str());
        let redaction = Redaction::of(secret);
        Ok(Self { values, redaction })
    }

    /// Value of a required key.
    pub(super) fn get(&self, key: &str) -> &str {
        self.some(key).unwrap_or_default()
    }

    /// Value of a key, if it is there.
    pub(super) fn some(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.as_str())
    }

    /// Redaction of texts in which these credentials may be.
    pub(super) fn redaction(&self) -> Redaction {
        self.redaction.clone()
    }
}

fn those_there_are(keys: &[Key]) -> String {
    let names: Vec<_> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
    match names.len() {
        0 => "its provider does not know: it has no keys of its own".to_owned(),
        _ => format!("its provider does not know; it knows {}", names.join(", ")),
    }
}

/// Forms in which the credentials of an account may appear in a text, the longest first.
#[derive(Clone, Default)]
pub(super) struct Redaction(std::sync::Arc<Vec<Zeroizing<String>>>);

impl Redaction {
    fn of<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut forms: Vec<Zeroizing<String>> = Vec::new();
        for value in values {
            // Lines of PEM, and the strings in JSON.
            let parts = value.split(['\n', '"', '\\', ',']).map(str::trim);
            let parts = parts.filter(|part| part.len() >= PART);
            for part in std::iter::once(value).chain(parts).filter(|part| !part.is_empty()) {
                forms.extend(forms_of(part).into_iter().map(Zeroizing::new));
            }
        }
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self(forms.into())
    }

    /// The text without credentials.
    pub(super) fn redact(&self, text: &str) -> String {
        let text =
            self.0.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), REDACTED));
        without_bearers(&text)
    }
}

/// The text without tokens that a provider gave for the credentials (RFC 6750 §2.1).
fn without_bearers(text: &str) -> String {
    let mut parts = text.split_inclusive(BEARER);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(part.len());
        shown += REDACTED;
        shown += &part[end..];
    }
    shown
}

/// A value as it is, in a URL, in a form, in JSON, and in Base64, where it may follow or precede
/// other bytes (`user:password`, RFC 7617).
fn forms_of(value: &str) -> Vec<String> {
    let url: String = value.bytes().map(percent_encoded).collect();
    let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let json = serde_json::Value::from(value).to_string();
    let mut forms = vec![
        value.to_owned(),
        url.to_ascii_lowercase(),
        url,
        form,
        json.trim_matches('"').to_owned(),
        BASE64_STANDARD.encode(value),
    ];
    for before in 0..3 {
        let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(value.bytes()).collect();
        // Letters that depend on bytes around the value are left out.
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        if last.saturating_sub(first) >= 6 {
            let encoded = BASE64_STANDARD_NO_PAD.encode(&bytes);
            forms.push(encoded[first..last].to_owned());
            forms.push(BASE64_URL_SAFE_NO_PAD.encode(&bytes)[first..last].to_owned());
        }
    }
    forms
}

fn percent_encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: &[Key] = &[Key::required("user"), Key::secret("token"), Key::option("region")];

    fn read(data: &[(&'static str, &'static str)]) -> Result<Credentials, String> {
        Credentials::read(KEYS, &data.iter().copied().collect())
    }

    #[test]
    fn a_missing_or_unknown_key_is_named_and_no_value_is_shown() {
        let both = [("user", "u"), ("token", "t0ken"), ("zones", "example.com")];
        let credentials = read(&both).unwrap();
        assert_eq!((credentials.get("token"), credentials.some("region")), ("t0ken", None));
        assert_eq!(format!("{credentials:?}"), "Credentials");
        assert_eq!(read(&both[..1]).unwrap_err(), "it has no key `token`");
        let wrong = read(&[both[0], both[1], ("tokn", "t0ken")]).unwrap_err();
        let expected = "it has a key `tokn`, which its provider does not know; it knows `user`, `token`, `region`";
        assert_eq!(wrong, expected);
    }

    proptest! {
        /// An echo of a credential in any of the forms of HTTP is redacted, and the rest stays.
        #[test]
        fn an_echoed_credential_is_redacted_in_every_form(
            token in "[ -~]{4,60}", user in "[a-z]{1,12}", before in "[^ -~]{0,8}", form in 0..6,
        ) {
            let token: &'static str = Box::leak(token.trim().to_owned().into_boxed_str());
            prop_assume!(token.len() >= 6 && !REDACTED.contains(token));
            let credentials = read(&[("user", "u"), ("token", token)]).unwrap();
            let url: String = token.bytes().map(percent_encoded).collect();
            let echo = match form {
                0 => token.to_owned(),
                1 => url,
                2 => url::form_urlencoded::byte_serialize(token.as_bytes()).collect(),
                3 => serde_json::Value::from(token).to_string(),
                4 => BASE64_STANDARD.encode(token),
                _ => BASE64_STANDARD.encode(format!("{user}:{token}")),
            };
            let redacted = credentials.redaction().redact(&format!("{before}{echo}{before}"));
            prop_assert!(redacted.contains(REDACTED) && !redacted.contains(&echo), "{redacted}");
            prop_assert!(redacted.starts_with(&before) && redacted.ends_with(&before));
        }
    }

    #[test]
    fn a_token_of_the_provider_is_redacted_too() {
        let redaction = read(&[("user", "u"), ("token", "t0ken")]).unwrap().redaction();
        let echo = "authorization: Bearer eyJ.abc\nBearer";
        assert_eq!(redaction.redact(echo), "authorization: Bearer [redacted]\nBearer");
        assert_eq!(redaction.redact("Bearer "), "Bearer ");
    }

    #[test]
    fn each_line_of_a_key_is_redacted() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0B\nAQEFAASCAUAwggE8AgEAAkEA\n-----END PRIVATE KEY-----";
        let credentials = read(&[("user", "u"), ("token", pem)]).unwrap();
        let echo = "bad key MIIBVgIBADANBgkqhkiG9w0B in the request";
        assert_eq!(credentials.redaction().redact(echo), "bad key [redacted] in the request");
    }
}
