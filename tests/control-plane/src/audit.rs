//! The API server's audit log, to count requests and to find those that RBAC refused.

use serde::Deserialize;

/// One finished request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// User name, such as `system:serviceaccount:ingress-acme:ingress-acme`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// Plural resource, with its subresource (`ingresses/status`); empty for a path outside the
    /// resources (`/readyz`).
    pub resource: String,
    /// Namespace; empty for cluster-scoped objects and for requests across namespaces.
    pub namespace: String,
    /// Object name; empty for lists and watches of all objects, and for some creates.
    pub name: String,
    /// The client's `User-Agent`.
    pub user_agent: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// Whether nothing was to be stored (`dryRun=All`).
    pub dry_run: bool,
}

/// Parses the log's JSON lines. Only the stage `ResponseComplete` counts, so a watch appears when
/// the watch ends. An incomplete last line is skipped.
pub(crate) fn parse(log: &str) -> Vec<AuditEntry> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok())
        .filter(|event| event.stage == "ResponseComplete")
        .map(AuditEntry::from)
        .collect()
}

/// The fields of `audit.k8s.io/v1` `Event` that this module uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    #[serde(default, rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        let ObjectRef { mut resource, subresource, namespace, name } = event.object_ref;
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            user: event.user.username,
            verb: event.verb,
            resource,
            namespace,
            name,
            user_agent: event.user_agent,
            code: event.response_status.code,
            dry_run: event.request_uri.contains("dryRun=All"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"kind":"Event","stage":"ResponseStarted","verb":"watch","user":{"username":"admin"}}"#,
        "\n",
        r#"{"stage":"ResponseComplete","verb":"patch","user":{"username":"admin","groups":["g"]},"#,
        r#""userAgent":"kubectl","objectRef":{"resource":"ingresses","namespace":"shop","#,
        r#""name":"web","subresource":"status"},"responseStatus":{"metadata":{},"code":403}}"#,
        "\n",
        r#"{"stage":"ResponseComplete","verb":"get","user":{"username":"u"},"requestURI":"/readyz"}"#,
        "\n",
        r#"{"stage":"ResponseComplete","verb":"ge"#,
    );

    #[test]
    fn only_finished_requests_are_counted_and_a_torn_last_line_is_left_out() {
        let verbs: Vec<String> = parse(LOG).into_iter().map(|entry| entry.verb).collect();
        assert_eq!(verbs, ["patch", "get"]);
    }

    #[test]
    fn an_entry_names_user_object_and_answer() {
        let expected = AuditEntry {
            user: "admin".into(),
            verb: "patch".into(),
            resource: "ingresses/status".into(),
            namespace: "shop".into(),
            name: "web".into(),
            user_agent: "kubectl".into(),
            code: 403,
            dry_run: false,
        };
        assert_eq!(parse(LOG).first(), Some(&expected));
    }

    #[test]
    fn a_path_that_is_no_resource_has_an_empty_resource() {
        assert_eq!(parse(LOG).last().map(|entry| entry.resource.as_str()), Some(""));
    }
}
