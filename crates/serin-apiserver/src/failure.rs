//! The `Status` object with which a request is refused.

use serde_json::{Value, json};

use crate::patch::{ApplyError, PatchError};
use crate::schema::FieldError;

/// A refused request, with the fields of its `Status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// `details` of the Status.
    pub details: Value,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// A failure with the HTTP status code, the `reason` of the `Status`, and its message.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// An InternalError, 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// A BadRequest for invalid options of a request.
    pub fn bad_option(options: &str, error: FieldError) -> Self {
        Self::invalid("meta.k8s.io", options, "", &[error])
    }

    /// A BadRequest, 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// `canaries.flagger.app "x" not found`
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::about(
            404,
            "NotFound",
            group,
            plural,
            name,
            &format!("{} \"{name}\" not found", full(group, plural)),
        )
    }

    /// An AlreadyExists, 409.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", full(group, plural));
        Self::about(409, "AlreadyExists", group, plural, name, &message)
    }

    /// A Conflict, 409.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", full(group, plural));
        Self::about(409, "Conflict", group, plural, name, &message)
    }

    /// A Forbidden, 403.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", full(group, plural));
        Self::about(403, "Forbidden", group, plural, name, &message)
    }

    /// Adds one entry to `details.causes`.
    pub fn caused_by(mut self, reason: &str, message: &str, field: &str) -> Self {
        self.details["causes"] = json!([{"reason": reason, "message": message, "field": field}]);
        self
    }

    /// An Invalid, 422, with one cause per error.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.reason, "message": e.message, "field": e.field}))
            .collect();
        let kind_group = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        Self {
            code: 422,
            reason: "Invalid",
            message: format!("{kind_group} \"{name}\" is invalid: {list}"),
            details: named(name, group, kind, causes),
        }
    }

    fn about(
        code: u16,
        reason: &'static str,
        group: &str,
        plural: &str,
        name: &str,
        message: &str,
    ) -> Self {
        let mut details = json!({"name": name, "kind": plural});
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        Self { code, reason, message: message.to_owned(), details }
    }

    /// The body of the answer.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

impl From<PatchError> for Failure {
    fn from(error: PatchError) -> Self {
        let (code, reason) = error.status();
        Failure::new(code, reason, error.to_string())
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Malformed(message) => Failure::bad_request(message),
            ApplyError::Untyped(message) => Failure::internal(message),
            ApplyError::Conflict(conflict) => {
                let causes: Vec<Value> = conflict
                    .causes
                    .iter()
                    .map(|cause| json!({"reason": "FieldManagerConflict", "message": cause.message, "field": cause.field}))
                    .collect();
                let mut failure = Failure::new(409, "Conflict", conflict.message);
                failure.details = json!({"causes": causes});
                failure
            }
        }
    }
}

/// The `details` of a `Status`, without empty fields.
fn named(name: &str, group: &str, kind: &str, causes: Vec<Value>) -> Value {
    let mut details = json!({"kind": kind, "causes": causes});
    for (field, value) in [("name", name), ("group", group)] {
        if !value.is_empty() {
            details[field] = json!(value);
        }
    }
    details
}

fn full(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
