//! Checks of CustomResourceDefinitions, at their creation and update.

use serde_json::Value;

use super::Inner;
use super::lifecycle::{CRD_GROUP, CRDS, crd_status, invalid_crd};
use crate::failure::Failure;
use crate::registry::ResourceId;
use crate::registry::{self, Resource};
use crate::schema::FieldError;

impl Inner {
    /// Refuses a definition that would replace a built-in kind.
    pub(super) fn check_definition(&self, crd: &Value, defined: &Resource) -> Result<(), Failure> {
        if self.resources.get(&defined.id).is_some_and(|known| !known.custom) {
            let why = format!("{}.{} is a built-in kind", defined.id.plural, defined.id.group);
            return Err(invalid_crd(crd, &[error("spec.group", &why)]));
        }
        Ok(())
    }

    /// Checks a changed definition: what existing objects rely on cannot change.
    pub(super) fn check_changed(
        &mut self,
        resource: &Resource,
        old: &Value,
        new: &mut Value,
    ) -> Result<(), Failure> {
        if resource.id == ResourceId::core("services") {
            self.give_cluster_ip(new);
            return Ok(());
        }
        if resource.id.group != CRD_GROUP || resource.id.plural != CRDS {
            return Ok(());
        }
        let mut errors = Vec::new();
        for (field, pointer) in [
            ("spec.group", "/spec/group"),
            ("spec.scope", "/spec/scope"),
            ("spec.names.plural", "/spec/names/plural"),
            ("spec.names.kind", "/spec/names/kind"),
        ] {
            if old.pointer(pointer) != new.pointer(pointer) {
                errors.push(error(field, "field is immutable"));
            }
        }
        if errors.is_empty() {
            errors.extend(registry::from_crd(new).err().unwrap_or_default());
        }
        if !errors.is_empty() {
            return Err(invalid_crd(new, &errors));
        }
        if old.get("spec") != new.get("spec") {
            new["status"] = crd_status(new, old.get("status"), &self.now_text());
        }
        Ok(())
    }
}

fn error(field: &str, why: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {why}"),
    }
}
