//! What a request is about, and how its client sees it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::route::Place;
use super::{body, fields};
use crate::core_events;
use crate::failure::Failure;
use crate::old_scaler;
use crate::registry::{Resource, ResourceId, Version};
use crate::selector::Selector;
use crate::store::PatchKind;

/// How a client sees objects that are stored otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    AsStored,
    NewEvent,
    OldScaler,
}

/// A place with everything that is known about its kind.
pub(super) struct Target {
    pub(super) place: Place,
    /// Where the objects are kept: events of either group in one place.
    pub(super) id: ResourceId,
    pub(super) resource: Arc<Resource>,
    pub(super) face: Face,
}

impl Target {
    pub(super) fn version(&self) -> Result<&Version, Failure> {
        self.resource.version(&self.place.version).ok_or_else(missing)
    }

    pub(super) fn namespace(&self) -> &str {
        self.place.namespace.as_deref().unwrap_or_default()
    }

    /// Version for the store, which knows one face only.
    pub(super) fn stored_version(&self) -> &str {
        match self.face {
            Face::AsStored | Face::NewEvent => &self.place.version,
            Face::OldScaler => "v2",
        }
    }

    /// An object as this client's version shows it.
    pub(super) fn show(&self, object: &Value) -> Value {
        match self.face {
            Face::AsStored => {}
            Face::NewEvent => return core_events::from_core(object),
            Face::OldScaler => return old_scaler::from_v2(object),
        }
        let wanted = self.resource.api_version(&self.place.version);
        let mut shown = object.clone();
        if shown.get("apiVersion").and_then(Value::as_str) != Some(wanted.as_str()) {
            shown["apiVersion"] = json!(wanted);
        }
        shown
    }

    /// What the cells of a table are made of: of events, the core face.
    pub(super) fn printed(&self, object: &Value) -> Value {
        match self.face {
            Face::NewEvent => object.clone(),
            Face::AsStored | Face::OldScaler => self.show(object),
        }
    }

    /// A whole object from a body, as the store keeps it.
    pub(super) fn take(&self, object: Value) -> Result<Value, Failure> {
        body::check_version(&object, &self.resource.api_version(&self.place.version))?;
        Ok(match self.face {
            Face::AsStored => object,
            Face::NewEvent => core_events::to_core(&object),
            Face::OldScaler => old_scaler::to_v2(&object),
        })
    }

    pub(super) fn take_patch(&self, kind: PatchKind, patch: Value) -> Result<Value, Failure> {
        if kind == PatchKind::Apply {
            return self.take(patch);
        }
        Ok(match self.face {
            Face::AsStored => patch,
            Face::NewEvent => core_events::patch_to_core(patch),
            Face::OldScaler => old_scaler::to_v2(&patch),
        })
    }

    pub(super) fn selector(&self, labels: &str, fields: &str) -> Result<Selector, Failure> {
        let selector = Selector::parse(labels, fields)?;
        let selector = match self.face {
            Face::NewEvent => selector.with_fields(|path| core_events::core_path(path, '.')),
            Face::AsStored | Face::OldScaler => selector,
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
