//! The file of `--cas-file`: its fields, and the checks after which it is a list of CAs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::{Ca, Cas, DefaultCa, FallbackTo, Reissue, Scope, Source};
use crate::domain::certificate::UnknownAlgorithm;
use crate::domain::cut::cut;
use crate::domain::limits;
use crate::domain::public_name::PublicCa;

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CasFile {
    /// The CAs. The first one is the default where no rule of `default` fits.
    pub cas: Vec<CaOfFile>,
    /// Rules for the default, by namespace and by domain.
    #[serde(default)]
    pub default: Vec<DefaultOfFile>,
    /// When certificates that should have another CA are replaced.
    #[serde(default)]
    pub reissue: Reissue,
}

/// A CA of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CaOfFile {
    name: String,
    directory: String,
    roots: Option<String>,
    external_account: Option<String>,
    contact: Option<String>,
    profile: Option<String>,
    preferred_chain: Option<String>,
    key_algorithm: Option<String>,
    guards: Option<bool>,
    public: Option<bool>,
    #[serde(default)]
    fallbacks: Vec<FallbackOfFile>,
    rehearsal: Option<String>,
    #[serde(default)]
    allow: Vec<ScopeOfFile>,
}

/// A fallback of a CA of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FallbackOfFile {
    ca: String,
    after: Option<String>,
}

/// Namespaces and domains in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeOfFile {
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    domains: Vec<String>,
}

/// A rule for the default in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultOfFile {
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    domains: Vec<String>,
    ca: String,
}

/// Why a file is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// Readers of values that the flags have too.
#[derive(Clone, Copy)]
pub struct Readers<'a> {
    /// A URL of a directory, in its usual form.
    pub directory: &'a dyn Fn(&str) -> Result<String, String>,
    /// A duration.
    pub duration: &'a dyn Fn(&str) -> Result<Duration, String>,
    /// A contact.
    pub contact: &'a dyn Fn(&str) -> Result<String, String>,
}

impl Cas {
    /// Checks the file. `readers` are those of the flags.
    ///
    /// # Errors
    /// The first fault, with the CA that has it.
    pub fn of_file(file: CasFile, readers: Readers<'_>) -> Result<Self, Unusable> {
        let CasFile { cas, default, reissue } = file;
        bounded(cas.len(), limits::CAS, "CAs")?;
        bounded(default.len(), limits::CA_RULES, "rules of `default`")?;
        let known = directories(&cas, readers)?;
        let mut read = Vec::new();
        for ca in cas {
            let name = cut(&*ca.name, limits::SHOWN_MAX);
            let ca = ca.read(&known, readers);
            read.push(ca.map_err(|Unusable(why)| Unusable(format!("CA `{name}`: {why}")))?);
        }
        let mut read = read.into_iter();
        let first = read.next().ok_or_else(|| Unusable("it names no CA".to_owned()))?;
        let rule = |DefaultOfFile { namespaces, domains, ca }: DefaultOfFile| {
            let scope = scope(namespaces, &domains)?;
            Ok(DefaultCa { scope, directory: known.of(&ca)? })
        };
        let defaults: Result<_, Unusable> = default.into_iter().map(rule).collect();
        let defaults =
            defaults.map_err(|Unusable(why)| Unusable(format!("a rule of `default`: {why}")))?;
        Ok(Self { first, others: read.collect(), defaults, reissue, source: Source::File })
    }
}

/// Names of the CAs with their directories.
struct Directories(Vec<(String, String)>);

impl Directories {
    fn of(&self, name: &str) -> Result<String, Unusable> {
        let found = self.0.iter().find(|(known, _)| known == name);
        let unknown = || Unusable(format!("no CA has the name `{}`", cut(name, limits::SHOWN_MAX)));
        Ok(found.ok_or_else(unknown)?.1.clone())
    }

    /// The directory of a CA that is not the one of `own`.
    fn other(&self, name: &str, own: &str, what: &str) -> Result<String, Unusable> {
        let directory = self.of(name)?;
        if directory == own {
            return Err(Unusable(format!("it is named as its own {what}")));
        }
        Ok(directory)
    }
}

fn directories(cas: &[CaOfFile], readers: Readers<'_>) -> Result<Directories, Unusable> {
    let (mut names, mut known) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for ca in cas {
        let name = cut(&*ca.name, limits::SHOWN_MAX);
        let why = |why: &str| Unusable(format!("CA `{name}`: {why}"));
        check_name(&ca.name).map_err(why)?;
        let directory = (readers.directory)(&ca.directory).map_err(|fault| why(&fault))?;
        if !names.insert(&ca.name) {
            return Err(why("another CA has the same name"));
        }
        if !known.insert(directory.clone()) {
            return Err(why("another CA has the same directory"));
        }
        all.push((ca.name.clone(), directory));
    }
    Ok(Directories(all))
}

/// Names are values of annotations and labels of metrics.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = (1..=limits::CA_NAME).contains(&name.len());
    if fits && name.bytes().all(is_fine) {
        return Ok(());
    }
    Err("its name needs 1 to 63 letters, digits, `-`, `_` or `.`")
}

fn bounded(count: usize, most: usize, what: &str) -> Result<(), Unusable> {
    if count <= most {
        return Ok(());
    }
    Err(Unusable(format!("it has {count} {what}; at most {most} are read")))
}

fn scope(namespaces: Vec<String>, domains: &[String]) -> Result<Scope, Unusable> {
    bounded(namespaces.len(), limits::CA_RULES, "namespaces in one list")?;
    bounded(domains.len(), limits::CA_RULES, "domains in one list")?;
    let plain = |domain: &String| domain.trim_start_matches("*.").to_ascii_lowercase();
    let scope = Scope { namespaces, domains: domains.iter().map(plain).collect() };
    if scope.domains.iter().any(String::is_empty) || scope.namespaces.iter().any(String::is_empty) {
        return Err(Unusable("a namespace or domain is empty".to_owned()));
    }
    Ok(scope)
}

impl CaOfFile {
    fn read(self, known: &Directories, readers: Readers<'_>) -> Result<Ca, Unusable> {
        let algorithm = self.key_algorithm.as_deref().map(str::parse).transpose();
        let algorithm = algorithm
            .map_err(|unknown: UnknownAlgorithm| Unusable(format!("keyAlgorithm: {unknown}")))?;
        let contact = self.contact.as_deref().map(readers.contact).transpose();
        let contact = contact.map_err(|why| Unusable(format!("contact: {why}")))?;
        let own = known.of(&self.name)?;
        let rehearsal = self.rehearsal.as_deref();
        let rehearsal = rehearsal.map(|name| known.other(name, &own, "rehearsal")).transpose()?;
        Ok(Ca {
            fallbacks: fallbacks(&self.fallbacks, known, &own, readers)?,
            rehearsal,
            allow: allowed(self.allow)?,
            name: self.name,
            directory: own,
            roots: self.roots,
            external_account: self.external_account,
            contact,
            profile: self.profile,
            preferred_chain: self.preferred_chain,
            algorithm,
            guards: self.guards,
            public: self.public.map(|is| if is { PublicCa::Yes } else { PublicCa::No }),
        })
    }
}

fn fallbacks(
    named: &[FallbackOfFile],
    known: &Directories,
    own: &str,
    readers: Readers<'_>,
) -> Result<Vec<FallbackTo>, Unusable> {
    bounded(named.len(), limits::CAS, "fallbacks")?;
    let read = named.iter().map(|FallbackOfFile { ca, after }| {
        let after = after.as_deref().map(readers.duration).transpose();
        let after = after.map_err(|why| Unusable(format!("after: {why}")))?;
        let after = after.unwrap_or(limits::FALLBACK_AFTER);
        Ok(FallbackTo { directory: known.other(ca, own, "fallback")?, after })
    });
    read.collect()
}

fn allowed(rules: Vec<ScopeOfFile>) -> Result<Vec<Scope>, Unusable> {
    bounded(rules.len(), limits::CA_RULES, "rules of `allow`")?;
    let read = rules.into_iter().map(|ScopeOfFile { namespaces, domains }| {
        if namespaces.is_empty() && domains.is_empty() {
            let why = "a rule of `allow` needs namespaces or domains (namespaces: [\"*\"] are all)";
            return Err(Unusable(why.to_owned()));
        }
        scope(namespaces, &domains)
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certificate::KeyAlgorithm;

    const READERS: Readers<'static> = Readers {
        directory: &|text| {
            let is_url = text.starts_with("https://");
            if is_url { Ok(text.to_owned()) } else { Err(format!("`{text}` is not an https URL")) }
        },
        duration: &|text| {
            text.parse().map(Duration::from_secs).map_err(|_| format!("`{text}` is no duration"))
        },
        contact: &|text| Ok(text.to_owned()),
    };

    fn read(json: serde_json::Value) -> Result<Cas, String> {
        let file = serde_json::from_value(json).map_err(|error| error.to_string())?;
        Cas::of_file(file, READERS).map_err(|why| why.to_string())
    }

    #[test]
    fn all_fields_are_read() {
        let cas = read(serde_json::json!({
            "reissue": "now",
            "cas": [
                {"name": "le", "directory": "https://le.example/dir", "contact": "mailto:a@b",
                 "profile": "tlsserver", "preferredChain": "Root", "guards": true,
                 "fallbacks": [{"ca": "other"}, {"ca": "third", "after": "7"}], "rehearsal": "third"},
                {"name": "other", "directory": "https://other.example/dir", "externalAccount": "eab",
                 "keyAlgorithm": "rsa-2048", "roots": "/etc/root.pem", "public": false,
                 "allow": [{"namespaces": ["web"], "domains": ["*.Corp.example"]}]},
                {"name": "third", "directory": "https://third.example/dir"},
            ],
            "default": [{"namespaces": ["intra"], "ca": "other"}],
        }))
        .unwrap();
        let (le, other) = (&cas.first, &cas.others[0]);
        let fallback = |directory: &str, after| FallbackTo { directory: directory.into(), after };
        let after = [limits::FALLBACK_AFTER, Duration::from_secs(7)];
        let expected = [
            fallback("https://other.example/dir", after[0]),
            fallback("https://third.example/dir", after[1]),
        ];
        assert_eq!(le.fallbacks, expected);
        assert_eq!(le.rehearsal.as_deref(), Some("https://third.example/dir"));
        assert_eq!(other.algorithm, Some("rsa-2048".parse::<KeyAlgorithm>().unwrap()));
        assert_eq!(other.allow[0].domains, ["corp.example"]);
        assert_eq!(cas.defaults[0].directory, other.directory);
        assert_eq!((cas.reissue, cas.source), (Reissue::Now, Source::File));
    }

    /// Bad files, and what is said of them.
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn faults() -> Vec<(serde_json::Value, &'static str)> {
        let ca = |name: &str| serde_json::json!({"name": name, "directory": format!("https://{name}/d")});
        let with = |more: serde_json::Value| {
            let mut one = ca("a");
            one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::json!({"cas": [one, ca("b")]})
        };
        let many: Vec<_> = (0..=limits::CAS).map(|number| ca(&format!("c{number}"))).collect();
        vec![
            (serde_json::json!({"cas": []}), "it names no CA"),
            (
                serde_json::json!({"cas": [ca("a"), ca("a")]}),
                "CA `a`: another CA has the same name",
            ),
            (serde_json::json!({"cas": many}), "at most"),
            (
                with(serde_json::json!({"directory": "http://a"})),
                "CA `a`: `http://a` is not an https URL",
            ),
            (
                with(serde_json::json!({"directory": "https://b/d"})),
                "CA `b`: another CA has the same directory",
            ),
            (with(serde_json::json!({"name": "a b"})), "CA `a b`: its name needs"),
            (
                with(serde_json::json!({"fallbacks": [{"ca": "z"}]})),
                "CA `a`: no CA has the name `z`",
            ),
            (
                with(serde_json::json!({"fallbacks": [{"ca": "a"}]})),
                "CA `a`: it is named as its own fallback",
            ),
            (
                with(serde_json::json!({"fallbacks": [{"ca": "b", "after": "x"}]})),
                "after: `x` is no duration",
            ),
            (with(serde_json::json!({"keyAlgorithm": "dsa"})), "CA `a`: keyAlgorithm: "),
            (with(serde_json::json!({"allow": [{}]})), "CA `a`: a rule of `allow` needs"),
            (with(serde_json::json!({"colour": 1})), "unknown field `colour`"),
            (
                serde_json::json!({"cas": [ca("a")], "default": [{"ca": "q"}]}),
                "a rule of `default`: no CA has the name `q`",
            ),
        ]
    }

    #[test]
    fn each_fault_is_named_with_its_ca() {
        for (file, expected) in faults() {
            let why = read(file.clone()).unwrap_err();
            assert!(why.contains(expected), "{file}: {why}");
            assert!(why.len() <= 300, "{why}");
        }
    }
}
