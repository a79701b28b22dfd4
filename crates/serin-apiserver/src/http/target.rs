//! The kind and object of a request, and the conversion between stored and requested version.

use std::sync::Arc;

use serde_json::{Value, json};

use super::route::ObjectPath;
use super::{body, fields};
use crate::autoscaler_conversion;
use crate::event_conversion;
use crate::failure::Failure;
use crate::registry::{Resource, ResourceId, Version};
use crate::selector::Selector;
use crate::store::PatchKind;

/// How objects are converted between the stored and the requested version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// Answered as it is stored.
    None,
    /// `events.k8s.io/v1`, stored as a core `v1` Event.
    EventsV1,
    /// `autoscaling/v1`, stored as `autoscaling/v2`.
    AutoscalingV1,
}

/// A path with the kind that it names.
pub(super) struct Target {
    pub(super) place: ObjectPath,
    /// The kind under which objects are stored: Events of either group under the core one.
    pub(super) id: ResourceId,
    pub(super) resource: Arc<Resource>,
    pub(super) conversion: Conversion,
}

impl Target {
    pub(super) fn version(&self) -> Result<&Version, Failure> {
        self.resource.version(&self.place.version).ok_or_else(missing)
    }

    pub(super) fn namespace(&self) -> &str {
        self.place.namespace.as_deref().unwrap_or_default()
    }

    /// The version under which the store knows the kind.
    pub(super) fn stored_version(&self) -> &str {
        match self.conversion {
            Conversion::None | Conversion::EventsV1 => &self.place.version,
            Conversion::AutoscalingV1 => "v2",
        }
    }

    /// Converts a stored object to the requested version.
    pub(super) fn show(&self, object: &Value) -> Value {
        match self.conversion {
            Conversion::None => {}
            Conversion::EventsV1 => return event_conversion::from_core(object),
            Conversion::AutoscalingV1 => return autoscaler_conversion::from_v2(object),
        }
        let wanted = self.resource.api_version(&self.place.version);
        let mut shown = object.clone();
        if shown.get("apiVersion").and_then(Value::as_str) != Some(wanted.as_str()) {
            shown["apiVersion"] = json!(wanted);
        }
        shown
    }

    /// The object from which table cells are made: for Events the core version.
    pub(super) fn printed(&self, object: &Value) -> Value {
        match self.conversion {
            Conversion::EventsV1 => object.clone(),
            Conversion::None | Conversion::AutoscalingV1 => self.show(object),
        }
    }

    /// Converts an object from a body to the stored version.
    pub(super) fn take(&self, object: Value) -> Result<Value, Failure> {
        body::check_version(&object, &self.resource.api_version(&self.place.version))?;
        Ok(match self.conversion {
            Conversion::None => object,
            Conversion::EventsV1 => event_conversion::to_core(&object),
            Conversion::AutoscalingV1 => autoscaler_conversion::to_v2(&object),
        })
    }

    pub(super) fn take_patch(&self, kind: PatchKind, patch: Value) -> Result<Value, Failure> {
        if kind == PatchKind::Apply {
            return self.take(patch);
        }
        Ok(match self.conversion {
            Conversion::None => patch,
            Conversion::EventsV1 => event_conversion::patch_to_core(patch),
            Conversion::AutoscalingV1 => autoscaler_conversion::to_v2(&patch),
        })
    }

    pub(super) fn selector(&self, labels: &str, fields: &str) -> Result<Selector, Failure> {
        let selector = Selector::parse(labels, fields)?;
        let selector = match self.conversion {
            Conversion::EventsV1 => {
                selector.with_fields(|path| event_conversion::core_path(path, '.'))
            }
            Conversion::None | Conversion::AutoscalingV1 => selector,
        };
        for field in selector.fields() {
            fields::check(&self.resource, self.version()?, field)?;
        }
        Ok(selector)
    }
}

pub(super) fn missing() -> Failure {
    let why = "the server could not find the requested resource";
    Failure { details: json!({}), ..Failure::new(404, "NotFound", why) }
}

pub(super) fn not_allowed() -> Failure {
    let why = "the server does not allow this method on the requested resource";
    Failure { details: json!({}), ..Failure::new(405, "MethodNotAllowed", why) }
}
