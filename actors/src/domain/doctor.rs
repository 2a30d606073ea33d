//! Findings of `doctor`: one line for each check of an install, with the advice for the reader. The
//! command collects the facts, and the functions of this folder judge them.
//!
//! A fact that could not be read never hides another one: its check is skipped, with the reason.

pub mod ca;
pub mod class;
pub mod hosts;
pub mod install;
pub mod installs;
pub mod network_policy;
pub mod rights;

use serde::Serialize;

use crate::domain::cut::cut;
use crate::domain::limits;

/// A fact about the cluster, the CA or a host; the error is the reason why nobody knows.
pub type Fact<T> = Result<T, String>;

/// Result of a check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Certificates may be late or missing under some condition, which the advice names.
    Warn,
    /// Certificates are not issued, or not renewed.
    Fail,
    /// Nobody knows: the line has the reason.
    Skipped,
}

impl Verdict {
    /// The word at the beginning of a line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// The checks, in the order of the lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The API server answers.
    ApiServer,
    /// The Deployment is there and its replicas are ready.
    Deployment,
    /// The flags of the Deployment can be read.
    Flags,
    /// A replica leads.
    Leader,
    /// The operator's `ServiceAccount` has its rights.
    Rights,
    /// The CA's directory can be read.
    Directory,
    /// The clocks agree.
    Clock,
    /// Proxies on the way to the CA.
    Proxy,
    /// Network policies let the operator work.
    NetworkPolicy,
    /// No other install or issuer serves the same Ingresses.
    Installs,
    /// The ingress class, and the rules of its controller.
    Class,
    /// The Ingress is served.
    Ingress,
    /// The host has addresses.
    Dns,
    /// Port 80 of the host leads to this cluster.
    Route,
    /// CAA records let the CA issue.
    Caa,
}

impl Check {
    /// Name of the check in a line, as in `-o json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "api-server",
            Self::Deployment => "deployment",
            Self::Flags => "flags",
            Self::Leader => "leader",
            Self::Rights => "rights",
            Self::Directory => "directory",
            Self::Clock => "clock",
            Self::Proxy => "proxy",
            Self::NetworkPolicy => "network-policy",
            Self::Installs => "installs",
            Self::Class => "class",
            Self::Ingress => "ingress",
            Self::Dns => "dns",
            Self::Route => "route",
            Self::Caa => "caa",
        }
    }
}

/// One line of `doctor`, with the fields of `-o json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The result.
    pub verdict: Verdict,
    /// The check.
    pub check: Check,
    /// Facts that the check has seen.
    pub seen: String,
    /// Advice to the reader; `None` where all is well.
    pub advice: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, check: Check, seen: &str, advice: Option<&str>) -> Self {
        let bounded = |text: &str| cut(text, limits::FINDING_TEXT);
        Self { verdict, check, seen: bounded(seen), advice: advice.map(bounded) }
    }

    pub(crate) fn ok(check: Check, seen: &str) -> Self {
        Self::new(Verdict::Ok, check, seen, None)
    }

    pub(crate) fn warn(check: Check, seen: &str, advice: &str) -> Self {
        Self::new(Verdict::Warn, check, seen, Some(advice))
    }

    pub(crate) fn fail(check: Check, seen: &str, advice: &str) -> Self {
        Self::new(Verdict::Fail, check, seen, Some(advice))
    }

    /// A check without its fact.
    pub fn skipped(check: Check, why: &str) -> Self {
        Self::new(Verdict::Skipped, check, why, None)
    }

    /// The words after the name of the check.
    pub fn words(&self) -> String {
        match &self.advice {
            Some(advice) => format!("{}; {advice}", self.seen),
            None => self.seen.clone(),
        }
    }
}

/// Whether one of the findings needs an action before certificates are issued and renewed.
pub fn any_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Fail)
}

/// The items of a list in words.
pub(crate) fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_is_one_and_a_line_names_its_advice() {
        let ok = Finding::ok(Check::Leader, "pod a leads");
        let warn = Finding::warn(Check::Proxy, "HTTP_PROXY alone", "set HTTPS_PROXY");
        let skipped = Finding::skipped(Check::Rights, "you may not ask");
        assert!(!any_failed(&[ok.clone(), warn.clone(), skipped]));
        assert!(any_failed(&[ok.clone(), Finding::fail(Check::Caa, "no", "change the record")]));
        assert_eq!(ok.words(), "pod a leads");
        assert_eq!(warn.words(), "HTTP_PROXY alone; set HTTPS_PROXY");
    }

    #[test]
    fn a_text_from_outside_is_bounded_and_without_control_characters() {
        let long = Finding::fail(Check::Dns, &"x\u{1b}".repeat(9_000), &"y\n".repeat(9_000));
        let advice = long.advice.unwrap();
        for text in [&long.seen, &advice] {
            assert!(text.len() <= limits::FINDING_TEXT && !text.chars().any(char::is_control));
        }
    }

    #[test]
    fn the_name_of_a_check_is_that_of_json() {
        for check in [Check::ApiServer, Check::NetworkPolicy, Check::Caa, Check::Dns] {
            assert_eq!(serde_json::to_value(check).unwrap(), check.name());
        }
        assert_eq!(serde_json::to_value(Verdict::Skipped).unwrap(), Verdict::Skipped.word());
    }
}
