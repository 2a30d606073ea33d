//! Refused requests as `Status` objects of the API, with the wording of a real server.

use serde_json::{Value, json};

use super::resource::Resource;

/// Reason of a refused request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
    /// `details` of the Status, or null.
    details: Value,
    /// Continue token of an expired list, which resumes the list with current objects.
    resume: Option<String>,
}

/// One error in an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    /// Path such as `metadata.name`.
    pub(crate) field: String,
    /// Reason such as `FieldValueInvalid`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Cause {
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "FieldValueInvalid", message: message.into() }
    }

    pub(crate) fn required(field: impl Into<String>) -> Self {
        let message = "Required value".to_owned();
        Self { field: field.into(), reason: "FieldValueRequired", message }
    }

    pub(crate) fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "FieldValueForbidden", message: message.into() }
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl Refusal {
    /// Returns the HTTP status.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Returns the `reason` of the Status, such as `AlreadyExists`.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Returns the Status object.
    pub(crate) fn body(&self) -> Value {
        let mut metadata = json!({});
        if let Some(token) = &self.resume {
            metadata["continue"] = json!(token);
        }
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            body["details"] = self.details.clone();
        }
        body
    }

    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, resume: None }
    }

    fn about(mut self, resource: Resource, kind: &str, name: &str, causes: &[Cause]) -> Self {
        self.details = json!({"name": name, "kind": kind});
        if !resource.group().is_empty() {
            self.details["group"] = json!(resource.group());
        }
        if !causes.is_empty() {
            self.details["causes"] = causes.iter().map(Cause::json).collect();
        }
        self
    }

    pub(crate) fn not_found(resource: Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, resource.plural(), name, &[])
    }

    pub(crate) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(crate) fn already_exists(resource: Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, resource.plural(), name, &[])
    }

    pub(crate) fn conflict(resource: Resource, name: &str, why: &str) -> Self {
        let what = resource.qualified();
        let message = format!("Operation cannot be fulfilled on {what} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(resource, resource.plural(), name, &[])
    }

    /// The object has a newer version than the one in the request.
    pub(crate) fn modified(resource: Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// Other managers own applied fields.
    pub(crate) fn field_conflicts(causes: &[Cause]) -> Self {
        let plural = if causes.len() == 1 { "" } else { "s" };
        let causes_text: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.message, cause.field)).collect();
        let message = format!(
            "Apply failed with {} conflict{plural}: {}",
            causes.len(),
            causes_text.join("\n")
        );
        let causes: Vec<Value> = causes.iter().map(Cause::json).collect();
        let details = json!({"causes": causes});
        Self { details, ..Self::new(409, "Conflict", message) }
    }

    pub(crate) fn invalid(resource: Resource, name: &str, causes: &[Cause]) -> Self {
        let causes_text: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let causes_text = match causes_text.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {causes_text}", resource.qualified_kind());
        Self::new(422, "Invalid", message).about(resource, resource.kind(), name, causes)
    }

    /// Invalid query parameter of a patch.
    pub(crate) fn patch_options(cause: &Cause) -> Self {
        let message =
            format!("PatchOptions.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
        let details =
            json!({"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause.json()]});
        Self { details, ..Self::new(422, "Invalid", message) }
    }

    /// Creation in a namespace that is being deleted.
    pub(crate) fn terminating(resource: Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        let cause = Cause {
            field: "metadata.namespace".to_owned(),
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
        };
        Self::new(403, "Forbidden", message).about(resource, resource.plural(), name, &[cause])
    }

    /// The requested history is forgotten.
    pub(crate) fn too_old(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// Expired list; `resume` continues the list with current objects.
    pub(crate) fn list_expired(resume: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        Self { resume: Some(resume), ..Self::new(410, "Expired", message) }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Converts the refusal for a patch that leaves an object unreadable.
    pub(crate) fn unprocessable(self) -> Self {
        Self { code: 422, reason: "Invalid", ..self }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// No rule of RBAC lets `user` do this.
    pub(crate) fn no_right(user: &str, verb: &str, resource: &str) -> Self {
        let message = format!(
            "{resource} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\""
        );
        Self::new(403, "Forbidden", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    pub(crate) fn too_large() -> Self {
        Self::new(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    }

    pub(crate) fn unsupported_patch(kind: &str) -> Self {
        let known = "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {known}; it was {kind}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn throttled() -> Self {
        let message =
            "the server has received too many requests and has asked us to try again later";
        let details = json!({"retryAfterSeconds": 1});
        Self { details, ..Self::new(429, "TooManyRequests", message) }
    }

    pub(crate) fn failed() -> Self {
        Self::new(500, "InternalError", "Internal error occurred: a fault of the simulation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_status_with_its_details() {
        let body = Refusal::not_found(Resource::Ingresses, "shop").body();
        assert_eq!(body["message"], "ingresses.networking.k8s.io \"shop\" not found");
        let details = json!({"name": "shop", "group": "networking.k8s.io", "kind": "ingresses"});
        assert_eq!(body["details"], details);
    }

    #[test]
    fn each_cause_is_in_the_message_and_in_the_details() {
        let causes = [Cause::required("data[tls.crt]"), Cause::invalid("type", "no")];
        let refusal = Refusal::invalid(Resource::Secrets, "tls", &causes);
        let message = "Secret \"tls\" is invalid: [data[tls.crt]: Required value, type: no]";
        assert_eq!(refusal.to_string(), message);
        assert_eq!(refusal.body()["details"]["causes"][1]["field"], "type");
    }
}
