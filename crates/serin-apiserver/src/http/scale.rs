//! The scale subresource: the replica count of an object, whatever its kind.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::target::{Target, missing, not_allowed};
use super::{Api, Body, Call, body, json as respond};
use crate::failure::Failure;
use crate::registry::Scale;
use crate::schema::FieldError;
use crate::store::{PatchKind, Sub};
use crate::table;

impl Api {
    pub(super) fn scale(
        &self,
        target: &Target,
        name: &str,
        call: &Call,
    ) -> Result<Response<Body>, Failure> {
        let scale = target.version()?.scale.clone().ok_or_else(missing)?;
        let current = self.find(target, name)?;
        if call.method == Method::GET {
            return Ok(respond(StatusCode::OK, &scale_of(&current, &scale)));
        }
        let before = scale_of(&current, &scale);
        let wanted = match call.method {
            Method::PUT => body::object(call)?,
            Method::PATCH => {
                let (kind, patch) = body::patch(call)?;
                match kind {
                    PatchKind::Json => crate::patch::json_patch(&before, &patch)?,
                    // A Scale has no lists, so that merge and strategic merge patches are the same.
                    PatchKind::Merge | PatchKind::Strategic => {
                        crate::patch::merge_patch(&before, &patch)?
                    }
                    PatchKind::Apply => {
                        return self.apply_scale(target, name, &scale, &patch, call);
                    }
                }
            }
            _ => return Err(not_allowed()),
        };
        let sent =
            wanted.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let have =
            before.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        if !sent.is_empty() && sent != have {
            let id = &target.place.id;
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Failure::conflict(&id.group, &id.plural, name, why));
        }
        let replicas = wanted.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        if replicas < 0 {
            let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
            let error = FieldError::new("spec.replicas", "FieldValueInvalid", message);
            return Err(Failure::invalid("autoscaling", "Scale", name, &[error]));
        }
        let options = body::write_options(call, target.stored_version())?;
        let pointer = format!("/{}", scale.spec_replicas.replace('.', "/"));
        let written = self.store.modify(
            &target.id,
            target.namespace(),
            name,
            Sub::Scale,
            &options,
            |object| {
                set(object, &pointer, json!(replicas));
            },
        )?;
        Ok(respond(StatusCode::OK, &scale_of(&written.object, &scale)))
    }

    /// Applies a replica count: the field manager owns it through the subresource.
    fn apply_scale(
        &self,
        target: &Target,
        name: &str,
        scale: &Scale,
        patch: &Value,
        call: &Call,
    ) -> Result<Response<Body>, Failure> {
        let options = body::write_options(call, target.stored_version())?;
        let mut applied = json!({
            "apiVersion": target.resource.api_version(target.stored_version()),
            "kind": target.resource.kind,
            "metadata": {"name": name},
        });
        if let Some(replicas) = patch.pointer("/spec/replicas") {
            set(
                &mut applied,
                &format!("/{}", scale.spec_replicas.replace('.', "/")),
                replicas.clone(),
            );
        }
        let (id, namespace) = (&target.id, target.namespace());
        let written = self.store.patch(
            id,
            namespace,
            name,
            PatchKind::Apply,
            &applied,
            Sub::Scale,
            &options,
        )?;
        Ok(respond(StatusCode::OK, &scale_of(&written.object, scale)))
    }
}

fn scale_of(object: &Value, scale: &Scale) -> Value {
    let at = |path: &str| {
        object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_i64).unwrap_or(0)
    };
    let selector = match &scale.selector {
        Some(path) => object
            .pointer(&format!("/{}", path.replace('.', "/")))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        None => table::selector_text(object.pointer("/spec/selector/matchLabels")),
    };
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.get("metadata").and_then(|m| m.get(field)) {
            metadata[field] = value.clone();
        }
    }
    let mut status = json!({"replicas": at(&scale.status_replicas)});
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": at(&scale.spec_replicas)},
        "status": status,
    })
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}
