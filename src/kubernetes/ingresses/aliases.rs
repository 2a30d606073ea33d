//! Names that annotations of a controller serve beside the hosts of an Ingress, by a redirect or an
//! alias.

use std::collections::BTreeSet;

use ingress_acme_actors::domain::aliases::Alias;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;

/// Annotation that redirects `www.HOST` to `HOST`, or the other way round (ingress-nginx).
const WWW: &str = "nginx.ingress.kubernetes.io/from-to-www-redirect";

/// Annotations with a comma-separated list of names.
const LISTS: [&str; 2] =
    ["nginx.ingress.kubernetes.io/server-alias", "appgw.ingress.kubernetes.io/hostname-extension"];

/// Prefix of the name on which [`WWW`] decides.
const PREFIX: &str = "www.";

/// Returns the names that these annotations (name and value) serve beside `rule_hosts`: the first
/// [`limits::ALIASES`], in order. Patterns are left out, because no certificate of ours can have
/// them.
pub(super) fn aliases<'a>(
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    rule_hosts: &[String],
) -> Vec<Alias> {
    let hosts: BTreeSet<&str> = rule_hosts.iter().map(String::as_str).collect();
    let mut found = BTreeSet::new();
    for (name, value) in annotations {
        if name == WWW && value.eq_ignore_ascii_case("true") {
            let names = hosts.iter().map(|host| counterpart(host));
            found.extend(names.filter_map(|name| alias(WWW, &name)).take(limits::ALIASES));
        } else if let Some(list) = LISTS.into_iter().find(|list| *list == name) {
            let names = value.split(',').map(str::trim);
            found.extend(names.filter_map(|name| alias(list, name)).take(limits::ALIASES));
        }
    }
    let mut aliases: Vec<Alias> =
        found.into_iter().filter(|alias| !hosts.contains(alias.name.as_str())).collect();
    aliases.truncate(limits::ALIASES);
    aliases.shrink_to_fit();
    aliases
}

/// The name that is redirected to `host`.
fn counterpart(host: &str) -> String {
    host.strip_prefix(PREFIX).map_or_else(|| format!("{PREFIX}{host}"), str::to_owned)
}

fn alias(annotation: &'static str, name: &str) -> Option<Alias> {
    Some(Alias { annotation, name: DnsName::parse(name).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotation: &str, value: &str, hosts: &[&str]) -> Vec<String> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let found = aliases([(annotation, value)], &hosts);
        found.into_iter().map(|alias| alias.name.to_string()).collect()
    }

    #[test]
    fn a_redirect_of_www_serves_the_other_name_of_each_host() {
        let www = |hosts: &[&str]| of(WWW, "true", hosts);
        assert_eq!(www(&["example.com"]), ["www.example.com"]);
        assert_eq!(www(&["www.example.com"]), ["example.com"]);
        assert_eq!(www(&["example.com", "www.example.com"]), [""; 0], "both are hosts");
        assert_eq!(of(WWW, "false", &["example.com"]), [""; 0]);
    }

    #[test]
    fn a_list_of_aliases_is_read_without_its_patterns() {
        let found =
            of(LISTS[0], "a.example.com, ~^b.*$,*.c.example.com,d.example.com", &["d.example.com"]);
        assert_eq!(found, ["a.example.com"]);
        assert_eq!(of(LISTS[1], "e.example.com", &[]), ["e.example.com"]);
        assert_eq!(of("other", "e.example.com", &[]), [""; 0]);
    }

    #[test]
    fn few_names_are_kept_of_a_long_list() {
        let long: Vec<String> = (0..10_000).map(|n| format!("h{n}.example.com")).collect();
        assert_eq!(of(LISTS[0], &long.join(","), &[]).len(), limits::ALIASES);
    }
}
