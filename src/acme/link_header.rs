//! The HTTP header `Link` (RFC 8288): a CA names alternate chains with it (RFC 8555 §7.4.2).

use http::header::{HeaderMap, LINK};
use ingress_acme_actors::domain::limits;
use url::Url;

/// Returns the `rel="alternate"` URLs of a response from `base`: in header order, without
/// duplicates, at most [`limits::ALTERNATES`], and https only, because a signed request is sent to
/// each.
pub(super) fn alternates(headers: &HeaderMap, base: &str) -> Vec<String> {
    let texts = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let targets = texts.flat_map(links).filter(|(_, alternate)| *alternate).map(|(url, _)| url);
    let mut targets = targets.peekable();
    let mut found = Vec::new();
    if targets.peek().is_none() {
        return found; // the common case: no need to parse the base URL
    }
    let Ok(base) = base.parse::<Url>() else { return found };
    for target in targets {
        let url = base.join(target).ok().filter(|url| url.scheme() == "https");
        let Some(url) = url.map(String::from) else { continue };
        if url != base.as_str() && !found.contains(&url) && found.len() < limits::ALTERNATES {
            found.push(url);
        }
    }
    found
}

/// Parses the links of one header: the target of each, and whether the relation is `alternate`.
fn links(text: &str) -> impl Iterator<Item = (&str, bool)> {
    // A target may contain commas and semicolons, so the target is cut out first.
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let end = after.find('<').unwrap_or(after.len());
        rest = &after[end..];
        Some((target, is_alternate(&after[..end])))
    })
}

/// Whether `rel` contains `alternate`, quoted or not, possibly among other relations.
fn is_alternate(parameters: &str) -> bool {
    parameters.split([';', ',']).any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel")
            && relations.any(|relation| relation.eq_ignore_ascii_case("alternate"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(links: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for link in links {
            headers.append(LINK, link.parse().unwrap());
        }
        alternates(&headers, "https://ca.example/cert/1")
    }

    #[test]
    fn alternates_are_found_among_other_links_in_the_order_of_the_answer() {
        let found = of(&[
            r#"<https://ca.example/dir>;rel="index""#,
            r#"</cert/1/1>;rel="alternate""#,
            r#"<https://ca.example/cert/1/2>; title="x"; rel=alternate, <https://ca.example/up>;rel="up""#,
            r#"<https://ca.example/a,b;c>; REL="up Alternate""#,
        ]);
        let expected = ["cert/1/1", "cert/1/2", "a,b;c"];
        assert_eq!(found, expected.map(|path| format!("https://ca.example/{path}")));
    }

    #[test]
    fn what_is_no_alternate_or_leads_elsewhere_than_https_is_passed_over() {
        let nothing = of(&[
            r#"<https://ca.example/cert/1>;rel="alternate""#,
            r#"<http://ca.example/cert/1/1>;rel="alternate""#,
            r#"<https://ca.example/cert/1/1>;rel="alternates""#,
            "<https://ca.example/cert/1/1",
            "alternate",
        ]);
        assert!(nothing.is_empty(), "{nothing:?}");
    }

    #[test]
    fn however_many_there_are_only_some_are_looked_at() {
        let many: Vec<String> =
            (0..100).map(|number| format!("</{number}>;rel=\"alternate\"")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(of(&many).len(), limits::ALTERNATES);
    }

    proptest::proptest! {
        #[test]
        fn any_header_names_few_alternates_and_only_https(
            text in "([ -~]{0,30}|<|>|;rel=|alternate|\"|,|https://ca\\.example/){0,20}",
        ) {
            let found = of(&[&text, &text]);
            proptest::prop_assert!(found.len() <= limits::ALTERNATES);
            proptest::prop_assert!(found.iter().all(|url| url.starts_with("https://")));
        }
    }
}
