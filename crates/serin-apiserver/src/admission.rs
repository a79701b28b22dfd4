//! Refusals of the admission stage of a real cluster, for tests and tools that embed the API server.
//!
//! The API server enforces no quotas, policies, webhooks or rights. An [`Admission`] decides which writes such a rule would refuse, and
//! the client gets the answer of a real API server.

use serde_json::json;

use crate::failure::Failure;
use crate::registry::ResourceId;

/// A write that a client requests.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionRequest<'a> {
    pub resource: &'a ResourceId,
    pub namespace: &'a str,
    pub name: &'a str,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
    pub verb: Verb,
}

/// The verb of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A create, or an apply of an object that does not exist.
    Create,
    Change,
    Delete,
}

/// The rule that refuses a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A ResourceQuota whose limit of objects of this kind is reached.
    Quota { quota: String, limit: u32 },
    /// A ValidatingAdmissionPolicy.
    Policy { policy: String, binding: String, message: String },
    /// An admission webhook.
    Webhook { webhook: String, message: String },
    /// OwnerReferencesPermissionEnforcement: the client may not delete the owner that it names.
    OwnerReference,
    /// The same plugin: the client may not set finalizers on an owner with `blockOwnerDeletion`.
    BlockingOwner,
}

impl Refusal {
    /// The answer that the client gets.
    pub fn failure(&self, attempt: &AdmissionRequest<'_>) -> Failure {
        let ResourceId { group, plural } = attempt.resource;
        let forbidden = |why: &str| Failure::forbidden(group, plural, attempt.name, why);
        match self {
            Refusal::Quota { quota, limit } => {
                let counted = if group.is_empty() {
                    plural.clone()
                } else {
                    format!("count/{plural}.{group}")
                };
                forbidden(&format!(
                    "exceeded quota: {quota}, requested: {counted}=1, used: {counted}={limit}, limited: {counted}={limit}"
                ))
            }
            Refusal::Policy { policy, binding, message } => {
                let why = format!(
                    "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"
                );
                let mut refused = Failure { code: 422, reason: "Invalid", ..forbidden(&why) };
                refused.details["causes"] = json!([{"message": why}]);
                refused
            }
            Refusal::Webhook { webhook, message } => {
                let why = format!("admission webhook {webhook:?} denied the request: {message}");
                Failure::new(400, "", why)
            }
            Refusal::OwnerReference => {
                forbidden("cannot set an ownerRef on a resource you can't delete: , <nil>")
            }
            Refusal::BlockingOwner => forbidden(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
            ),
        }
    }
}

/// Decides which writes are refused; called before the store.
pub trait Admission: Send + Sync {
    /// The refusal of a write; `None` lets it pass.
    fn refusal(&self, attempt: &AdmissionRequest<'_>) -> Option<Refusal>;
}

impl<F: Fn(&AdmissionRequest<'_>) -> Option<Refusal> + Send + Sync> Admission for F {
    fn refusal(&self, attempt: &AdmissionRequest<'_>) -> Option<Refusal> {
        self(attempt)
    }
}
