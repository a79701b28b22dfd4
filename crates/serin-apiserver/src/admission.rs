//! Refusals as the admission of a real cluster gives them, for whoever embeds the API server.
//!
//! Our API server enforces no quotas, policies, webhooks or rights; an [`Admission`] says which writes such a thing would refuse, and
//! the client hears it in the real server's words.

use serde_json::json;

use crate::failure::Failure;
use crate::registry::ResourceId;

/// A write that a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub resource: &'a ResourceId,
    pub namespace: &'a str,
    pub name: &'a str,
    /// As in `status`.
    pub subresource: Option<&'a str>,
    pub verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Also an apply of what is not there yet.
    Create,
    Change,
    Delete,
}

/// What refuses a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A ResourceQuota, whose limit of objects of this kind is reached.
    Quota { quota: String, limit: u32 },
    /// A ValidatingAdmissionPolicy.
    Policy { policy: String, binding: String, message: String },
    /// An admission webhook.
    Webhook { webhook: String, message: String },
    /// OwnerReferencesPermissionEnforcement: an owner is named that the client may not delete.
    OwnerReference,
    /// The same plugin: an owner is blocked that the client may not set finalizers on.
    BlockingOwner,
}

impl Refusal {
    /// As the client hears it.
    pub fn failure(&self, attempt: &Attempt<'_>) -> Failure {
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

/// Who may refuse writes; asked before the store is.
pub trait Admission: Send + Sync {
    fn refusal(&self, attempt: &Attempt<'_>) -> Option<Refusal>;
}

impl<F: Fn(&Attempt<'_>) -> Option<Refusal> + Send + Sync> Admission for F {
    fn refusal(&self, attempt: &Attempt<'_>) -> Option<Refusal> {
        self(attempt)
    }
}
