//! Selection of objects in lists and watches: label selectors, and the few field selectors that all
//! kinds support.

use std::collections::BTreeMap;

use serde_json::Value;

use super::refusal::Refusal;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// Label requirements, all of which must hold; an empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Selector(Vec<(String, Test)>);

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Present,
    Absent,
    /// One of these values.
    In(Vec<String>),
    /// None of these values, or absent.
    NotIn(Vec<String>),
}

impl Selector {
    /// Parses `a=b`, `a==b`, `a!=b`, `a`, `!a`, `a in (b, c)` and `a notin (b, c)`, separated by
    /// commas.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = || Refusal::bad_request(format!("unable to parse requirement: {text}"));
        let parts = split(text).into_iter().filter(|part| !part.is_empty());
        parts.map(|part| requirement(part).ok_or_else(bad)).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(label, test)| {
            let value = labels.get(label);
            match test {
                Test::Present => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let comma = |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    };
    text.split(comma).map(str::trim).collect()
}

fn requirement(part: &str) -> Option<(String, Test)> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let (label, test) = if let Some((label, value)) = part.split_once("!=") {
        (label, Test::NotIn(one(value)))
    } else if let Some((label, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (label, Test::In(one(value)))
    } else if let Some(label) = part.strip_prefix('!') {
        (label, Test::Absent)
    } else if let Some((label, values)) = part.split_once(" notin ") {
        (label, Test::NotIn(listed(values)?))
    } else if let Some((label, values)) = part.split_once(" in ") {
        (label, Test::In(listed(values)?))
    } else {
        (part, Test::Present)
    };
    let label = label.trim();
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    (!label.is_empty() && label.chars().all(letter)).then(|| (label.to_owned(), test))
}

fn listed(values: &str) -> Option<Vec<String>> {
    let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(values.split(',').map(|value| value.trim().to_owned()).collect())
}

/// Name and namespace in a `fieldSelector`, and for Events the object that they are about; other
/// fields are refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    /// Fields of `involvedObject`, and their values.
    involved: Vec<(String, String)>,
}

/// Start of the selectable fields of the object that an Event is about.
const INVOLVED: &str = "involvedObject.";

impl Fields {
    /// Parses `metadata.name=…`, `metadata.namespace=…`, and `kind`, `namespace`, `name` and `uid`
    /// of `involvedObject`, separated by commas.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let parts = part.split_once("==").or_else(|| part.split_once('='));
            let (field, value) = parts.unwrap_or((part, ""));
            match field {
                "metadata.name" => fields.name = Some(value.to_owned()),
                "metadata.namespace" => fields.namespace = Some(value.to_owned()),
                other => {
                    let involved = other.strip_prefix(INVOLVED);
                    let known = ["kind", "namespace", "name", "uid"];
                    let Some(involved) = involved.filter(|field| known.contains(field)) else {
                        return Err(unsupported(other));
                    };
                    fields.involved.push((involved.to_owned(), value.to_owned()));
                }
            }
        }
        Ok(fields)
    }

    /// Refuses fields of `involvedObject`, which only Events have.
    pub(crate) fn without_involved(&self) -> Result<(), Refusal> {
        let first = self.involved.first();
        first.map_or(Ok(()), |(field, _)| Err(unsupported(&format!("{INVOLVED}{field}"))))
    }

    /// Whether an Event is about an object with these fields.
    pub(crate) fn involve(&self, event: &Value) -> bool {
        let about = &event["regarding"];
        self.involved
            .iter()
            .all(|(field, value)| about[field].as_str().unwrap_or_default() == value)
    }
}

fn unsupported(field: &str) -> Refusal {
    Refusal::bad_request(format!("field label not supported: {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str) -> bool {
        let labels = [("app", "shop"), ("tier", "web")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Selector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn every_requirement_must_hold() {
        for yes in ["", "app", "!other", "app=shop", "app==shop,tier", "app!=x", "other!=x"] {
            assert!(selects(yes), "{yes}");
        }
        for yes in ["app in (x, shop),tier", "app notin (x,y)", "other notin (x)"] {
            assert!(selects(yes), "{yes}");
        }
        for no in ["other", "!app", "app=x", "app!=shop", "app=shop,tier=x", "app in (x,y)"] {
            assert!(!selects(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        assert_eq!(Selector::parse("a b").unwrap_err().code(), 400);
        assert_eq!(Selector::parse("=b").unwrap_err().code(), 400);
        assert_eq!(Fields::parse("spec.x=1").unwrap_err().code(), 400);
        assert_eq!(Fields::parse("metadata.name=a").unwrap().name.as_deref(), Some("a"));
        assert_eq!(Fields::parse("involvedObject.spec=1").unwrap_err().code(), 400);
    }

    #[test]
    fn an_event_is_selected_by_the_object_that_it_is_about() {
        let event = serde_json::json!({"regarding": {"kind": "Ingress", "name": "shop"}});
        let involve = |text: &str| Fields::parse(text).unwrap().involve(&event);
        assert!(involve("involvedObject.name=shop,involvedObject.kind=Ingress"));
        assert!(!involve("involvedObject.name=shop,involvedObject.kind=Secret"));
        assert!(!involve("involvedObject.uid=u1"));
        let of_others = Fields::parse("involvedObject.name=shop").unwrap().without_involved();
        assert_eq!(of_others.unwrap_err().code(), 400);
    }
}
